/** Clips and captions encoded once and kept, and as samples of a run. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { prepareClips } from "../../src/data/encode.ts";
import { openClips } from "../../src/data/folder.ts";
import type { PrepareClipsOptions } from "../../src/data/prepared.ts";
import { clipSamples, emptyText } from "../../src/data/samples.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { memorySource } from "../../src/sources/memory.ts";
import type { TrainingSample } from "../../src/training/training-sample.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

let model: CogVideoX;
let cache: string;
const SIZES = { resolution: { width: 32, height: 16 }, frames: 5, fps: 8 };

beforeAll(async () => {
  model = await CogVideoX.open(await tinyCheckpoint(), { gpu: await testGpu(), dtype: "f32" });
  cache = await mkdtemp(join(tmpdir(), "cogwheel-clips-"));
});
afterAll(async () => {
  await model[Symbol.asyncDispose]();
  await rm(cache, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

/** A folder of `count` films of 8 frames, each of another shade; the first `broken` of them are cut off. */
async function clips(count: number, broken = 0, cutAt = 12) {
  const files: Record<string, string | Uint8Array> = {};
  const lines: string[] = [];
  for (let n = 0; n < count; n++) {
    const frames = Array.from({ length: 8 }, (_, t) => ({ width: 32, height: 32, data: new Uint8Array(3 * 32 * 32).fill(10 * n + 3 * t) }));
    const film = await encodeVideo(frames, { format: "gif", fps: 8 });
    files[`${n}.gif`] = n < broken ? film.slice(0, cutAt) : film;
    lines.push(JSON.stringify({ file_name: `${n}.gif`, text: n % 2 ? "a red circle" : "a blue square" }));
  }
  return await openClips(memorySource({ ...files, "metadata.jsonl": lines.join("\n") }, "clips"));
}
async function prepare(folder: Awaited<ReturnType<typeof clips>>, more: Partial<PrepareClipsOptions> = {}) {
  const stages = new Set<string>();
  const warnings: string[] = [];
  const prepared = await prepareClips(model, folder, {
    sizes: SIZES,
    cache,
    onProgress: (stage) => stages.add(stage),
    onWarning: (message) => warnings.push(message),
    ...more,
  });
  return { ...prepared, prepared, stages: [...stages], warnings };
}
async function epoch(of: Awaited<ReturnType<typeof prepare>>, n: number, seed = 1): Promise<TrainingSample[]> {
  const samples: TrainingSample[] = [];
  for await (const sample of clipSamples(model, of.prepared, { seed })(n)) samples.push(await sample.load());
  return samples;
}

describe("preparing", () => {
  it("encodes each clip and each caption once, and what is kept never again", async () => {
    const folder = await clips(3);
    const first = await prepare(folder, { emptyText: true });
    expect(first.stages).toEqual(["read clips", "scan clips", "encode clips", "encode captions"]);
    expect(await readdir(cache)).toHaveLength(3 + 2 + 1);
    expect((await emptyText(first)).length).toBe(model.configs.transformer.max_text_seq_length * model.configs.text.d_model);
    const second = await prepare(folder, { emptyText: true });
    expect(second.stages).toEqual(["read clips"]);
    expect(second.identity).toEqual(first.identity);
    const other = await prepare(folder, { sizes: { ...SIZES, frames: 1 } });
    expect(other.stages).toEqual(["read clips", "scan clips", "encode clips"]);
    expect(other.identity).not.toEqual(first.identity);
  });

  it("that is stopped goes on where it was", async () => {
    const folder = await clips(4);
    const place = join(cache, "stopped");
    const stop = new AbortController();
    const stopping = prepare(folder, {
      cache: place,
      signal: stop.signal,
      onProgress: (stage, done) => void (stage === "encode clips" && done >= 0.5 && stop.abort(new Error("stop"))),
    });
    await expect(stopping).rejects.toThrow("stop");
    let encoded = 0;
    await prepare(folder, { cache: place, onProgress: (stage) => void (stage === "encode clips" && encoded++) });
    expect(encoded).toBe(2);
  });

  it("leaves broken clips out by name, up to a tenth of them", async () => {
    const { clips: whole, broken, warnings } = await prepare(await clips(10, 1));
    expect([whole.length, broken]).toEqual([9, ["0.gif"]]);
    expect(warnings[0]).toMatch(/^\[data\] 0.gif is left out, it cannot be read: /);
    await expect(prepare(await clips(10, 2))).rejects.toThrow(
      /at most a tenth of the clips may be broken, got 2 of 10 in clips; convert or remove them\n0.gif: .*\n1.gif: /,
    );
  });

  it("tells by name what is cut short, and leaves out what breaks later by the same rule", async () => {
    const { clips: whole, broken, warnings } = await prepare(await clips(2, 1, -40));
    expect([whole.length, broken]).toEqual([2, []]);
    expect(warnings).toEqual([expect.stringMatching(/^\[data\] 0\.gif is cut short or damaged: .*; its 7 whole frames were read$/)]);

    /** Clips whose files are cut off after they were scanned. */
    const later = async (count: number, names: readonly string[]) => {
      const folder = await clips(count);
      const reads = new Map<string, number>();
      const read: typeof folder.read = async (file, signal) => {
        reads.set(file, (reads.get(file) ?? 0) + 1);
        const bytes = await folder.read(file, signal);
        return names.includes(file) && reads.get(file)! > 2 ? bytes.slice(0, 12) : bytes;
      };
      return await prepare({ ...folder, read }, { cache: "memory" });
    };
    expect((await later(10, ["3.gif"])).broken).toEqual(["3.gif"]);
    await expect(later(10, ["3.gif", "5.gif"])).rejects.toThrow(/at most a tenth of the clips may be broken, got 2 of 10 in clips/);
  });

  it("makes what is damaged anew", async () => {
    const folder = await clips(1);
    const place = join(cache, "damaged");
    const made = await prepare(folder, { cache: place });
    await writeFile(join(place, `${made.clips[0]!.latents}.safetensors`), "damaged");
    await expect(epoch(made, 0)).rejects.toThrow("go on with the run: it is made anew");
    expect((await epoch(await prepare(folder, { cache: place }), 0))[0]!.latents.length).toBeGreaterThan(0);
  });
});

describe("samples", () => {
  it("come in another order and as another draw of the posterior in each epoch, the same for the same seed", async () => {
    const made = await prepare(await clips(5), { cache: "memory" });
    const [first, second] = [await epoch(made, 0), await epoch(made, 1)];
    expect(first.map(({ shape }) => shape)).toEqual(Array.from({ length: 5 }, () => [2, model.configs.vae.latent_channels, 2, 4]));
    expect(await epoch(made, 0)).toEqual(first);
    expect(await epoch(made, 0, 2)).not.toEqual(first);
    const all = [...first, ...second].map(({ latents }) => latents.join());
    expect(new Set(all).size).toBe(10);
    const captions = (samples: TrainingSample[]): string[] => samples.map(({ text }) => text.join());
    expect(new Set(captions(first)).size).toBe(2);
  });
});

it("an image-to-video model gets its image with several noises", async () => {
  const { latent_channels } = model.configs.vae;
  const i2v = await tinyCheckpoint({
    pipeline: "CogVideoXImageToVideoPipeline",
    shaped: true,
    configs: { transformer: { in_channels: 2 * latent_channels } },
  });
  await using other = await CogVideoX.open(i2v, { gpu: await testGpu(), dtype: "f32" });
  const prepared = await prepareClips(other, await clips(1), { sizes: SIZES, cache: "memory", imageNoises: 3 });
  expect(new Set(prepared.clips[0]!.images).size).toBe(3);
  const images = new Set<string>();
  for (let n = 0; n < 8; n++)
    for await (const sample of clipSamples(other, prepared, { seed: 1 })(n)) {
      const { condition } = await sample.load();
      const image = await (condition as () => Promise<Float32Array>)();
      expect(image.length).toBe(latent_channels * 2 * 4);
      images.add(image.join());
    }
  expect(images.size).toBe(8);
});
