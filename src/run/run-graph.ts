/** A graph's results in one call, for what is run once: tests, tools, first tries. Whoever runs it again keeps the `Program`. */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { compile } from "../plan/compile.ts";
import type { Graph } from "../graph/graph.ts";
import { Program, type RunOptions } from "./program.ts";
import { WeightStore } from "./weight-store.ts";
import type { WeightProvider } from "./weight-provider.ts";

function noWeights(name: string): never {
  throw new CogwheelError("graph", `weights must be given where a graph asks for some, got none for ${name}; pass a provider`);
}

/** Compiles and runs `graph`; resolves to its outputs by name, f16 widened to f32. `weights` is needed where the graph has some. */
export async function runGraph(
  gpu: Gpu,
  graph: Graph,
  inputs: Record<string, ArrayBufferView> = {},
  weights?: WeightProvider,
  options: Omit<RunOptions, "inputs"> = {},
): Promise<Record<string, Float32Array>> {
  using store = new WeightStore(gpu, weights ?? { type: () => "f32", stored: noWeights });
  using program = await Program.create(gpu, compile(graph, gpu.caps), store);
  await gpu.scoped(`running ${graph.name}`, () => program.run({ ...options, inputs }));
  const out: Record<string, Float32Array> = {};
  for (const name of graph.outputs.keys()) out[name] = await program.read(name);
  return out;
}
