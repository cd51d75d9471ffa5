/** Records a graph, runs it once and reads its outputs: how single modules are validated. */
import { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { runGraph } from "../../run/run-graph.ts";
import type { ModuleContext } from "./module.ts";
import type { HostTensor } from "./reference-case.ts";
import type { Guide } from "./trace/tracer.ts";

/**
 * `guide` says how the nodes can be traced. `build` returns the outputs by name, in engine layout;
 * the shapes of the result are the tensors' own.
 */
export async function runOnce(
  context: ModuleContext,
  inputs: Record<string, ArrayBufferView>,
  build: (graph: Graph) => Record<string, Tensor>,
  guide?: Guide,
): Promise<Record<string, HostTensor>> {
  const { gpu } = context;
  const provider = context.weights();
  const graph = new Graph("the case", (name) => provider.type(name));
  for (const [name, tensor] of Object.entries(build(graph))) graph.output(name, tensor);
  const got = await runGraph(gpu, graph, inputs, provider, { checkFinite: context.checkFinite, ...(guide ? context.follow(guide) : {}) });
  const out: Record<string, HostTensor> = {};
  for (const [name, tensor] of graph.outputs) out[name] = { shape: tensor.shape, data: got[name]! };
  return out;
}
