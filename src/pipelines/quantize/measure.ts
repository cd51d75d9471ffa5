/** How far a layer whose weights are in blocks departs from itself: on the device, on an input that is drawn. */
import { TorchGenerator } from "../../diffusion/torch-random.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { StoredWeight } from "../../graph/stored.ts";
import type { SingleLayer } from "../../models/single-layer.ts";
import { runGraph } from "../../run/run-graph.ts";
import { relativeError, type ErrorSums } from "./weight.ts";

/** ‖difference of both outputs‖₂ / ‖what the layer adds to its input‖₂. */
export async function outputError(
  gpu: Gpu,
  { graph, inputs }: SingleLayer,
  {
    own,
    blocks,
    seed,
    signal,
  }: {
    own: (weight: string) => StoredWeight;
    /** Weights in place of its own. */
    blocks: ReadonlyMap<string, StoredWeight>;
    seed: number;
    signal?: AbortSignal | undefined;
  },
): Promise<number> {
  const generator = new TorchGenerator(seed);
  const drawn: Record<string, Float32Array> = {};
  for (const { name, shape, silu } of inputs) {
    const values = generator.randn([...shape]);
    drawn[name] = silu ? values.map((v) => v / (1 + Math.exp(-v))) : values;
  }
  const run = async (stored: (weight: string) => StoredWeight): Promise<Float32Array> =>
    (await runGraph(gpu, graph, drawn, { type: () => "f32", stored }, signal ? { signal } : {}))["out"]!;
  const want = await run(own);
  const got = await run((weight) => blocks.get(weight) ?? own(weight));
  const hidden = drawn["hidden"]!;
  const sums: ErrorSums = { error: 0, norm: 0 };
  for (let i = 0; i < want.length; i++) {
    sums.error += (got[i]! - want[i]!) ** 2;
    sums.norm += (want[i]! - hidden[i]!) ** 2;
  }
  return relativeError(sums);
}
