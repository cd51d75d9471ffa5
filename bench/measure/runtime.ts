/** What the runtime costs beside the kernels: encoding, memory, waiting. Measured on a denoising step of the embedded model. */
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { ComponentWeights } from "../../src/checkpoint/component-weights.ts";
import type { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { denoiseGraph } from "../../src/models/cogvideox/model.ts";
import { measureLoading, type Loading } from "./loading.ts";
import { measureReplay, type Replay } from "./replay.ts";

export interface Runtime {
  readonly replay: Replay;
  /** Over `replays` runs: what stayed on the heap after a collection, and objects that were made of the device. */
  readonly allocation: {
    readonly replays: number;
    readonly heapBytesAReplay: number;
    readonly gpuBytes: number;
    readonly buffers: number;
    readonly bindGroups: number;
  };
  /** The share of a core that the main thread takes while the GPU works; where the system tells threads apart. */
  readonly waiting?: { readonly seconds: number; readonly core: number };
  /** Activations' arenas, and the largest set of activations alive at once. */
  readonly memory: { readonly activations: number; readonly lowerBound: number };
  readonly loading: Loading;
}

export async function measureRuntime(gpu: Gpu, model: CogVideoX): Promise<Runtime> {
  const weights = ComponentWeights.open(model.checkpoint.component("transformer"), model.dtype);
  const { transformer } = model.configs;
  const s = model.defaults;
  const graph = denoiseGraph(
    transformer,
    weights,
    {
      samples: 1,
      frames: (s.frames - 1) / model.rules.temporal + 1,
      height: s.height / model.rules.spatial,
      width: s.width / model.rules.spatial,
      textLength: transformer.max_text_seq_length,
      guidance: true,
      stochastic: s.scheduler === "dpm",
    },
    model.dtype,
  );
  using store = new WeightStore(gpu, weights);
  using program = await Program.create(gpu, compile(graph, gpu.caps), store);
  await program.run();
  await gpu.pace.drain();
  const replay = await measureReplay(gpu, program);
  const waiting = await measureWaiting(gpu, program);
  return {
    replay,
    ...(waiting ? { waiting } : {}),
    allocation: await measureAllocation(gpu, program),
    memory: { activations: program.plan.bytes.activations, lowerBound: program.plan.bytes.lowerBound },
    loading: await measureLoading(gpu),
  };
}

async function measureAllocation(gpu: Gpu, program: Program): Promise<Runtime["allocation"]> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const made = { buffers: 0, bindGroups: 0 };
  const { device } = gpu;
  const original = { createBuffer: device.createBuffer.bind(device), createBindGroup: device.createBindGroup.bind(device) };
  device.createBuffer = (descriptor) => {
    made.buffers++;
    return original.createBuffer(descriptor);
  };
  device.createBindGroup = (descriptor) => {
    made.bindGroups++;
    return original.createBindGroup(descriptor);
  };
  try {
    const replay = async (times: number): Promise<number> => {
      for (let i = 0; i < times; i++) await program.run();
      await gpu.pace.drain();
      // Wrappers of finished command buffers are freed by finalizers, a turn of the loop after the collection.
      for (let i = 0; i < 3; i++) {
        collect();
        await new Promise((done) => setImmediate(done));
      }
      return process.memoryUsage().heapUsed;
    };
    const few = gpu.caps.kind === "software" ? 6 : 50;
    await replay(few);
    const [buffers, bindGroups, bytes] = [made.buffers, made.bindGroups, gpu.memory.allocated];
    const before = await replay(few);
    const replays = 6 * few;
    const after = await replay(replays);
    return {
      replays,
      heapBytesAReplay: Math.max(0, after - before) / replays,
      gpuBytes: gpu.memory.allocated - bytes,
      buffers: made.buffers - buffers,
      bindGroups: made.bindGroups - bindGroups,
    };
  } finally {
    Object.assign(device, original);
  }
}

/** Seconds of processor time that this process's main thread has taken; undefined where only the whole process is told. */
function mainThreadSeconds(): number | undefined {
  if (process.platform !== "linux") return undefined;
  const fields = readFileSync(`/proc/self/task/${process.pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function measureWaiting(gpu: Gpu, program: Program): Promise<Runtime["waiting"]> {
  const before = mainThreadSeconds();
  if (before === undefined) return undefined;
  const start = performance.now();
  while (performance.now() - start < 2000) {
    await program.run();
    await gpu.pace.drain();
  }
  const seconds = (performance.now() - start) / 1000;
  return { seconds, core: (mainThreadSeconds()! - before) / seconds };
}
