/** A Linear of the transformer, with the adapters that are added to it while the model runs. */
import type { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { matmul, type MatmulOptions } from "../../ops/matmul.ts";
import { loraName, type LoraWeights } from "../lora/merge.ts";

/** `adapters` change with a run, their sizes with a plan: `rank` tells the sizes, an input for each weight takes the factors. */
export type LiveLoras = Pick<LoraWeights, "rank">;

export interface LinearOptions extends Omit<MatmulOptions, "bias" | "addend"> {
  /** Is there a bias under the same name? Default true. */
  bias?: boolean;
  /** The weight's published shape, where that is no matrix. */
  published?: readonly number[];
}

/** Input of a graph that holds the factors [rank] of the adapters on a weight. */
export const factorInput = (weight: string): string => `lora.factors:${weight}`;
/** The weight whose factors an input holds, if it is such an input. */
export const factorWeight = (input: string): string | undefined => /^lora\.factors:(.+)$/.exec(input)?.[1];

/**
 * x [..., in] → [..., out]: y = act(x·Wᵀ + b + ((x·Downᵀ) · factors)·Upᵀ) · gate + residual.
 * @param shape of the weight as a matrix, [out, in]
 */
export function linear(
  graph: Graph,
  x: Tensor,
  module: string,
  shape: readonly [number, number],
  options: LinearOptions = {},
  loras?: LiveLoras,
): Tensor {
  const { bias = true, published, ...rest } = options;
  const weight = `${module}.weight`;
  const w = published ? graph.reshape(graph.weight(weight, published), shape) : graph.weight(weight, shape);
  const plain: MatmulOptions = { ...rest, ...(bias ? { bias: graph.weight(`${module}.bias`, [shape[0]]) } : {}) };
  const rank = loras?.rank(weight) ?? 0;
  if (!rank) return matmul(x, w, plain);
  return graph.scope("lora", () => {
    const rows = x.size / x.dim(-1);
    // One input for all parts of a batch.
    const table = graph.inputs.get(factorInput(weight)) ?? graph.input(factorInput(weight), [1, rank]);
    const factors = { table, rows: graph.constant("lora.rows", new Uint32Array(rows)) };
    const low = matmul(x, graph.weight(loraName("down", weight), [rank, shape[1]], "f32"), { gate: factors });
    const up = graph.weight(loraName("up", weight), [shape[0], rank], "f32");
    if (options.activation) return matmul(x, w, { ...plain, addend: matmul(low, up) });
    // gate · (a + b) + residual is the sum of two products with the gate, one of which begins from the residual.
    const { gate, residual } = options;
    return matmul(x, w, {
      ...plain,
      residual: matmul(low, up, { ...(gate ? { gate } : {}), ...(residual ? { residual } : {}) }),
    });
  });
}
