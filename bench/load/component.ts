/**
 * A component as a user loads it: T5-XXL, at full width with a few layers, from a synthetic checkpoint in the system's cache onto the
 * device, beside `cat` of the same files and a copy of as many bytes on the device. What they take together is the mark: every byte must
 * be read once and written once.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { ComponentWeights } from "../../src/checkpoint/component-weights.ts";
import type { StoredType } from "../../src/cli/synthetic/draw.ts";
import { writeSynthetic } from "../../src/cli/synthetic/write.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { T5Encoder, t5Graph } from "../../src/models/t5/model.ts";
import { publishedModels, type PublishedModel } from "../../src/pipelines/cogvideox/published-models.ts";
import { compile } from "../../src/plan/compile.ts";
import { folderSource } from "../../src/sources/folder.ts";
import { summarise, type Summary } from "../measure/statistics.ts";
import { measureCat } from "./node.ts";

export interface ComponentLoad {
  readonly stored: StoredType;
  /** Of the weights' files, and of the weights on the device. */
  readonly bytes: number;
  readonly weights: number;
  /** Milliseconds. */
  readonly load: Summary;
  readonly cat: Summary;
  readonly copy: Summary;
  /** The load over the sum of the two others, round by round. */
  readonly ofSum: Summary;
  /** The most bytes on the device besides the weights, activations and staging memory. */
  readonly besides: number;
  /** The same of the process's resident memory, which on a CPU adapter holds the device's too; where the system tells. */
  readonly residentBesides?: number;
}

export interface ComponentLoads {
  readonly adapter: string;
  readonly layers: number;
  readonly dtype: "f32" | "f16";
  readonly rows: readonly ComponentLoad[];
}

export interface ComponentOptions {
  readonly layers?: number;
  readonly runs?: number;
  /** Whose text encoder. Default: T5-XXL. */
  readonly model?: PublishedModel;
}

/** @param folder an empty one, for the checkpoints */
export async function measureComponents(gpu: Gpu, folder: string, options: ComponentOptions = {}): Promise<ComponentLoads> {
  const { layers = 2, runs = 5, model = publishedModels["cogvideox-2b"] } = options;
  const dtype = gpu.caps.f16 ? "f16" : "f32";
  const rows: ComponentLoad[] = [];
  for (const stored of ["F16", "BF16"] as const)
    rows.push(await measureComponent(gpu, join(folder, stored), { model, layers, stored, dtype, runs }));
  return { adapter: gpu.name, layers, dtype, rows };
}

async function measureComponent(
  gpu: Gpu,
  folder: string,
  { model, layers, stored, dtype, runs }: { model: PublishedModel; layers: number; stored: StoredType; dtype: "f32" | "f16"; runs: number },
): Promise<ComponentLoad> {
  const { bytes } = await writeSynthetic(model, folder, { only: ["text_encoder"], layers, dtype: stored });
  await using checkpoint = await openCheckpoint(await folderSource(folder), { only: ["text_encoder"] });
  const component = checkpoint.component("text_encoder");
  const files = component.weights!.files.map((file) => join(folder, file));
  const config = parseT5Config(component.config);

  const { weights } = compile(t5Graph(config, ComponentWeights.open(component, dtype), { batch: 1, length: 226, dtype }), gpu.caps).bytes;
  const before = gpu.memory.allocated;
  let most = 0;
  const load = async (): Promise<number> => {
    const begun = performance.now();
    const onProgress = (): void => {
      most = Math.max(most, gpu.memory.allocated);
    };
    using _encoder = await T5Encoder.create(gpu, config, ComponentWeights.open(component, dtype), {
      batch: 1,
      length: 226,
      dtype,
      onProgress,
    });
    await gpu.idle();
    onProgress();
    return performance.now() - begun;
  };
  // Dawn gives back what was destroyed with a later submit.
  gpu.device.queue.submit([]);
  await gpu.idle();
  const resident = forgetPeak();
  await load(); // compiles the pipelines, and brings the files into the system's cache
  const ms = { load: [] as number[], cat: [] as number[], copy: [] as number[] };
  for (let i = 0; i < runs; i++) {
    ms.load.push(await load());
    ms.cat.push(await measureCat(files));
    ms.copy.push(await deviceCopy(gpu, bytes));
  }
  const peak = peakBytes();
  return {
    stored,
    bytes,
    weights,
    load: summarise(ms.load),
    cat: summarise(ms.cat),
    copy: summarise(ms.copy),
    ofSum: summarise(ms.load.map((own, i) => own / (ms.cat[i]! + ms.copy[i]!))),
    besides: most - before - weights,
    ...(resident !== undefined && peak !== undefined ? { residentBesides: peak - resident - weights } : {}),
  };
}

/** Milliseconds of copying as many bytes, through buffers that were used before. */
async function deviceCopy(gpu: Gpu, bytes: number): Promise<number> {
  const piece = Math.min(bytes, 256 << 20);
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  using from = gpu.buffer("bench source", piece, usage);
  using to = gpu.buffer("bench target", piece, usage);
  const copy = async (left: number): Promise<void> => {
    const encoder = gpu.device.createCommandEncoder();
    for (; left > 0; left -= piece) encoder.copyBufferToBuffer(from.buffer, 0, to.buffer, 0, 4 * Math.ceil(Math.min(left, piece) / 4));
    gpu.device.queue.submit([encoder.finish()]);
    await gpu.idle();
  };
  await copy(piece);
  const begun = performance.now();
  await copy(bytes);
  return performance.now() - begun;
}

/** Linux counts a process's peak anew when it is told so. Resolves to what is resident now. */
function forgetPeak(): number | undefined {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
    return process.memoryUsage.rss();
  } catch {
    return undefined;
  }
}

function peakBytes(): number | undefined {
  try {
    const [, kilobytes] = /^VmHWM:\s*(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
    return kilobytes === undefined ? undefined : 1024 * Number(kilobytes);
  } catch {
    return undefined;
  }
}
