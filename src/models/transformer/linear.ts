/** A Linear of the transformer, with the adapters that are added to it while the model runs. */
import type { Graph, Tensor } from "../../graph/graph.ts";
import { matmul, type MatmulOptions } from "../../ops/matmul.ts";
import { loraName, type LoraWeights } from "../lora.ts";

/** `adapters` change with a run, their sizes with a plan: `rank` tells the sizes, an input for each weight takes the factors. */
export type LiveLoras = Pick<LoraWeights, "rank">;

export interface LinearOptions extends Omit<MatmulOptions, "bias" | "addend"> {
  /** Is there a bias under the same name? Default true. */
  bias?: boolean;
}

/** Input of a graph that holds the factors [rank] of the adapters on these weights. */
const factorInput = (weights: readonly string[]): string => `lora.factors:${weights.join("+")}`;
/** The weights whose factors an input holds, if it is such an input. */
export const factorWeights = (input: string): string[] | undefined => /^lora\.factors:(.+)$/.exec(input)?.[1]!.split("+");

/**
 * x [..., in] → [..., Σ out]: y = act(x·Wᵀ + b + ((x·Downᵀ) · factors)·Upᵀ) · gate + residual. Several modules are one product, joined
 * along their outputs.
 * @param shape of the joined weight as a matrix, [Σ out, in]
 */
export function linear(graph: Graph, x: Tensor, modules: string | readonly string[], shape: readonly [number, number], options: LinearOptions = {}, loras?: LiveLoras): Tensor {
  const list = typeof modules === "string" ? [modules] : modules;
  const { bias = true, ...rest } = options;
  const weights = list.map((name) => `${name}.weight`);
  const w = graph.weight(weights, shape);
  const plain: MatmulOptions = { ...rest, ...(bias ? { bias: graph.weight(list.map((name) => `${name}.bias`), [shape[0]]) } : {}) };
  const rank = loras?.rank(weights) ?? 0;
  if (!rank) return matmul(x, w, plain);
  return graph.scope("lora", () => {
    const rows = x.size / x.dim(-1);
    const factors = { table: graph.input(factorInput(weights), [1, rank]), rows: graph.constant("lora.rows", new Uint32Array(rows)) };
    const low = matmul(x, graph.weight(loraName("down", weights), [rank, shape[1]], "f32"), { gate: factors });
    const up = graph.weight(loraName("up", weights), [shape[0], rank], "f32");
    if (options.activation) return matmul(x, w, { ...plain, addend: matmul(low, up) });
    // gate · (a + b) + residual is the sum of two products with the gate, one of which begins from the residual.
    const { gate, residual } = options;
    return matmul(x, w, { ...plain, residual: matmul(low, up, { ...(gate ? { gate } : {}), ...(residual ? { residual } : {}) }) });
  });
}
