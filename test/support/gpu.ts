/** One device for all tests of a process, and running one-off graphs on it. */
import { Gpu, type OpenGpuOptions } from "../../src/gpu/gpu.ts";
import type { CapabilityOverrides } from "../../src/gpu/capabilities.ts";
import { compile } from "../../src/plan/compile.ts";
import type { DType } from "../../src/graph/dtype.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { Program, type RunOptions } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { storedValues, type WeightProvider } from "../../src/run/weight-provider.ts";

const shared = globalThis as { cogwheelTestGpu?: Promise<Gpu> };

export function testGpu(): Promise<Gpu> {
  return (shared.cogwheelTestGpu ??= Gpu.open({
    tuning: false,
    ...(process.env["COGWHEEL_ADAPTER"] ? { adapter: process.env["COGWHEEL_ADAPTER"] } : {}),
    // The kernels that every GPU takes, run on whatever adapter is here.
    ...(process.env["COGWHEEL_KERNELS"] === "gpu" ? { capabilities: { kind: "hardware" as const } } : {}),
  }));
}

/** A device of its own that pretends to have less. */
export function limitedGpu(capabilities: CapabilityOverrides, options: OpenGpuOptions = {}): Promise<Gpu> {
  return Gpu.open({
    tuning: false,
    ...(process.env["COGWHEEL_ADAPTER"] ? { adapter: process.env["COGWHEEL_ADAPTER"] } : {}),
    ...options,
    capabilities,
  });
}

/** Weights from memory, stored as `dtype` (vectors always f32). */
export function memoryWeights(
  values: Record<string, { data: Float32Array; shape: readonly number[] }>,
  dtype: DType = "f32",
): WeightProvider {
  return {
    type: (name) => (values[name] && values[name].shape.length > 1 ? dtype : "f32"),
    stored: (name) => storedValues(name, values[name]!.data, values[name]!.shape),
  };
}

export interface RunGraphOptions extends RunOptions {
  gpu?: Gpu;
  weights?: Record<string, { data: Float32Array; shape: readonly number[] }>;
  weightType?: DType;
}

/** Records with `build` (which names its outputs), runs once, and returns every output. */
export async function runGraph(
  build: (graph: Graph) => Record<string, Tensor>,
  options: RunGraphOptions = {},
): Promise<Record<string, Float32Array>> {
  const gpu = options.gpu ?? (await testGpu());
  const provider = memoryWeights(options.weights ?? {}, options.weightType);
  const graph = new Graph("test", provider.type);
  for (const [name, tensor] of Object.entries(build(graph))) graph.output(name, tensor);
  using store = new WeightStore(gpu, provider);
  using program = await Program.create(gpu, compile(graph, gpu.caps), store);
  await gpu.scoped("running a test graph", () => program.run(options));
  const out: Record<string, Float32Array> = {};
  for (const name of graph.outputs.keys()) out[name] = await program.read(name);
  return out;
}
