/** Weights of a transformer for a test: small values, and gains around 1. */
import type { TransformerConfig } from "../../src/models/cogvideox/config.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { elements } from "../../src/graph/dtype.ts";
import { values } from "./compare.ts";

export const drawnWeights = (c: TransformerConfig): Record<string, { shape: readonly number[]; data: Float32Array }> =>
  Object.fromEntries(
    [...transformerWeights(c)].map(([name, shape], i) => {
      const data = values(elements(shape), i + 1, 0.2);
      return [name, { shape, data: shape.length === 1 && name.endsWith("weight") ? data.map((v) => 1 + v) : data }];
    }),
  );
