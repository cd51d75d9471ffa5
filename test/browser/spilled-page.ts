/** What test/browser/spilled.test.ts runs: in a page what starts a worker, and in the worker the decoding of a video by exact tiling. */
import { elements } from "../../src/base/shape.ts";
import { drawn } from "../../src/check/sweep/draw.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { vaeWeights } from "../../src/models/vae/batches.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import type { TilingReport } from "../../src/models/vae/exact/run.ts";
import { CausalVae } from "../../src/models/vae/model.ts";
import { spillRoom } from "../../src/platform/browser.ts";
import { storedValues } from "../../src/run/weight-provider.ts";

export interface Spilled {
  /** How many values are otherwise than those of activations in memory. */
  readonly different: number;
  readonly values: number;
  /** With activations in memory, and with those on the disk. */
  readonly memory: TilingReport;
  readonly disk: TilingReport;
  readonly room: number;
  /** Files that are left. */
  readonly left: number;
}

/** The worker's answer; its error's words where it has one. */
export async function spilledInWorker(): Promise<Spilled | string> {
  const worker = new Worker("./page.mjs", { type: "module" });
  try {
    return await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data as Spilled | string);
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.postMessage("begin");
    });
  } finally {
    worker.terminate();
  }
}

/** What a page has room for, which may not read and write as it goes. */
export async function roomOfPage(): Promise<number> {
  await Gpu.open();
  return spillRoom();
}

async function spilled(): Promise<Spilled> {
  const config = parseVaeConfig({
    ...{ block_out_channels: [6, 6, 12], latent_channels: 3, layers_per_block: 1 },
    ...{ norm_num_groups: 3, temporal_compression_ratio: 4 },
  });
  const shapes = vaeWeights(config, ["decode"]);
  const gpu = await Gpu.open();
  using vae = CausalVae.create(gpu, config, {
    type: () => "f32",
    stored(name) {
      const shape = shapes.get(name)!;
      const size = elements(shape);
      return storedValues(name, drawn(size, size, shape.length > 1 ? 1 / Math.sqrt(size / shape[0]!) : 0.5), shape);
    },
  });
  const shape = { batch: 1, frames: 3, height: 3, width: 5 };
  const reports: TilingReport[] = [];
  const decode = (hostBytes: number) =>
    vae.decode(drawn(3 * 3 * 3 * 5, 5), shape, {
      tiling: { mode: "exact", budgetBytes: 60_000, hostBytes },
      onTiling: (report) => void reports.push(report),
    });
  const [a, b] = [await decode(Infinity), await decode(1)];
  const root = await navigator.storage.getDirectory();
  const folder = (await root.getDirectoryHandle("cogwheel-spilled")) as FileSystemDirectoryHandle & { keys(): AsyncIterable<string> };
  // Files are removed behind the call.
  let left = 1;
  for (let i = 0; i < 100 && left; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    left = 0;
    for await (const _ of folder.keys()) left++;
  }
  const different = a.data.filter((v, i) => v !== b.data[i]).length;
  return { different, values: a.data.length, memory: reports[0]!, disk: reports[1]!, room: spillRoom(), left };
}

if (!("document" in globalThis))
  globalThis.onmessage = () => void spilled().then(postMessage, (error: unknown) => postMessage((error as Error).stack ?? String(error)));
