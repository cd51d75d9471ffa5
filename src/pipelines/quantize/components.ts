/** The components that can be quantized, and how each is written in GGUF. */
import type { GgufValue } from "../../files/gguf.ts";
import { parseTransformerConfig } from "../../models/cogvideox/config.ts";
import { transformerMetadata } from "../../models/cogvideox/gguf.ts";
import { transformerLayers } from "../../models/cogvideox/layers.ts";
import { transformerWeights } from "../../models/cogvideox/weights.ts";
import type { Quantizable } from "../../models/quantizable.ts";
import type { SingleLayer } from "../../models/single-layer.ts";
import { parseT5Config } from "../../models/t5/config.ts";
import { ggufMetadata, ggufName } from "../../models/t5/gguf.ts";
import { t5Layers } from "../../models/t5/layers.ts";
import { expectedT5Weights } from "../../models/t5/weights.ts";

/** A component of a checkpoint, as what quantizes it needs to know it. */
export interface QuantizableModel {
  readonly weights: ReadonlyMap<string, readonly number[]>;
  readonly layers: readonly SingleLayer[];
  readonly metadata: Map<string, GgufValue>;
  /** The name of a weight in the file. */
  readonly nameOf: (weight: string) => string;
}

/** @param config as it stands in the component's file @param where that file, for messages */
export function quantizableModel(component: Quantizable, config: Readonly<Record<string, unknown>>, where?: string): QuantizableModel {
  if (component === "transformer") {
    const parsed = parseTransformerConfig(config, where);
    return {
      weights: transformerWeights(parsed),
      layers: transformerLayers(parsed),
      metadata: transformerMetadata(config),
      nameOf: (weight) => weight,
    };
  }
  const parsed = parseT5Config(config, where);
  return {
    weights: expectedT5Weights(parsed),
    layers: t5Layers(parsed),
    metadata: ggufMetadata(parsed),
    nameOf: (weight) => ggufName(weight) ?? weight,
  };
}
