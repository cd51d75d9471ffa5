/** Checkpoints of published shapes with random weights: the files are those of the published ones, and a small one generates. */
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { elements } from "../../src/base/shape.ts";
import { bf16ToNumber, f16ToNumber } from "../../src/base/half.ts";
import { normalTable, TensorDraw } from "../../src/cli/synthetic/draw.ts";
import { shardsOf } from "../../src/cli/synthetic/shards.ts";
import { writeSynthetic } from "../../src/cli/synthetic/write.ts";
import { fitsF16, float16Loss } from "../../src/files/float16-loss.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { publishedModels, type PublishedModel } from "../../src/pipelines/cogvideox/published-models.ts";
import { TINY_CONFIGS } from "../support/tiny-checkpoint.ts";

const folders: string[] = [];
async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-synthetic-"));
  folders.push(folder);
  return folder;
}
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));

/** In shards, since its text encoder may have 20 kB a file. */
const tiny: PublishedModel = {
  title: "tiny",
  className: "CogVideoXPipeline",
  configs: { ...TINY_CONFIGS, text_encoder: { ...TINY_CONFIGS.text_encoder, num_layers: 3 } },
  dtype: "BF16",
  shardBytes: { text_encoder: 10_000, transformer: 1e9, vae: 1e9 },
};

test.each([
  // Parameters of the transformer, and its files.
  ["cogvideox-2b", 1_693_783_872, 1],
  ["cogvideox-5b", 5_570_283_072, 2],
  ["cogvideox-5b-i2v", 5_625_087_552, 3],
  ["cogvideox-1.5-5b", 5_570_676_352, 3],
  ["cogvideox-1.5-5b-i2v", 5_571_594_880, 3],
] as const)("%s has the parameters and files of the published one", (name, parameters, files) => {
  const { shards } = shardsOf(publishedModels[name]);
  const transformer = shards.get("transformer")!;
  expect(transformer.flatMap(({ order }) => order).reduce((sum, [, { shape }]) => sum + elements(shape), 0)).toBe(parameters);
  expect(transformer.length).toBe(files);
  for (const { bytes, head } of transformer) expect(bytes - head.length).toBeLessThanOrEqual(publishedModels[name].shardBytes.transformer);
  const gigabytes = (part: "text_encoder" | "vae") => shards.get(part)!.map(({ bytes }) => Math.round(bytes / 1e7) / 100);
  expect(gigabytes("text_encoder")).toEqual([4.99, 4.53]);
  expect(gigabytes("vae")).toEqual([0.43]);
});

test.each(["F16", "BF16"] as const)("numbers are normal in %s, whatever the pieces that they are drawn in", (type) => {
  const table = normalTable({ mean: 0.5, deviation: 0.01 }, type);
  const whole = new Uint16Array(100_001);
  new TensorDraw(7, "a", table).fill(whole);
  const pieces = new Uint16Array(100_001);
  const draw = new TensorDraw(7, "a", table);
  for (let at = 0; at < pieces.length; at += 1234) draw.fill(pieces.subarray(at, at + 1234));
  expect(pieces).toEqual(whole);
  const numbers = Float64Array.from(whole, type === "F16" ? f16ToNumber : bf16ToNumber);
  const mean = numbers.reduce((a, b) => a + b) / numbers.length;
  const moment = (power: number) => numbers.reduce((sum, n) => sum + ((n - mean) / 0.01) ** power, 0) / numbers.length;
  expect(mean).toBeCloseTo(0.5, 3);
  expect(moment(2)).toBeCloseTo(1, 1);
  expect(moment(4)).toBeCloseTo(3, 0);
  // Neighbours have nothing in common, and neither do other names or seeds.
  for (const other of [whole.subarray(1), drawn(7, "b"), drawn(8, "a"), drawn(7 + 2 ** 32, "a")]) {
    const count = other.length - 1;
    let product = 0;
    for (let i = 0; i < count; i++) {
      const theirs = (type === "F16" ? f16ToNumber : bf16ToNumber)(other[i]!);
      product += ((numbers[i]! - mean) * (theirs - mean)) / 1e-4 / count;
    }
    expect(Math.abs(product)).toBeLessThan(5 / Math.sqrt(count));
  }
  function drawn(seed: number, name: string): Uint16Array {
    const target = new Uint16Array(100_000);
    new TensorDraw(seed, name, table).fill(target);
    return target;
  }
});

test("a checkpoint opens with every weight it needs, fits f16, and makes a video", async () => {
  const folder = await newFolder();
  const reports: number[] = [];
  const written = await writeSynthetic(tiny, folder, { onProgress: (done, total) => reports.push(done / total) });
  expect(reports.at(-1)).toBe(1);
  const shards = (await readdir(join(folder, "text_encoder"))).filter((name) => name.endsWith(".safetensors"));
  expect(shards.length).toBeGreaterThan(1);
  expect(written.files).toBe(shards.length + 2);
  const sizes = await Promise.all(shards.map(async (name) => (await stat(join(folder, "text_encoder", name))).size));
  expect(sizes.reduce((a, b) => a + b)).toBeLessThan(written.bytes);

  await using model = await CogVideoX.open(folder);
  for (const { weights } of model.checkpoint.components.values())
    for (const name of weights?.names() ?? []) {
      const { bytes, dtype } = await weights!.read(name);
      expect([name, fitsF16(float16Loss(bytes, dtype))]).toEqual([name, true]);
    }
  const { frames } = await model.generate({
    prompt: "a red circle",
    width: 32,
    height: 16,
    frames: 9,
    steps: 2,
    seed: 1,
    checkFinite: true,
  });
  expect(frames).toHaveLength(9);
  const colours = new Set(frames.flatMap(({ data }) => [...data]));
  expect(colours.size).toBeGreaterThan(100);
});

test("a component is the same in any company; what is there is kept, and refused when it is asked for again", async () => {
  const [folder, part] = [await newFolder(), await newFolder()];
  await writeSynthetic(tiny, folder, { seed: 3 });
  await writeSynthetic(tiny, part, { seed: 3, only: ["vae"] });
  const index = async () => JSON.parse(await readFile(join(part, "model_index.json"), "utf8")) as Record<string, unknown>;
  expect(Object.keys(await index())).not.toContain("transformer");
  await writeSynthetic(tiny, part, { seed: 3, only: ["text_encoder", "transformer"], layers: 1 });
  expect(Object.keys(await index())).toEqual(expect.arrayContaining(["transformer", "text_encoder", "vae", "tokenizer", "scheduler"]));
  for (const file of ["vae/diffusion_pytorch_model.safetensors", "transformer/diffusion_pytorch_model.safetensors"])
    expect(await readFile(join(part, file))).toEqual(await readFile(join(folder, file)));
  await expect(writeSynthetic(tiny, part, { only: ["vae"] })).rejects.toThrow(/vae must be empty or not exist yet, got config.json/);
  const config = JSON.parse(await readFile(join(part, "text_encoder/config.json"), "utf8")) as { num_layers: number };
  expect(config.num_layers).toBe(1);
});

test("one that is stopped leaves no half file, and can be written again", async () => {
  const folder = await newFolder();
  await writeFile(join(folder, "notes.txt"), "kept");
  const stopped = AbortSignal.abort(new Error("stopped"));
  await expect(writeSynthetic(tiny, folder, { signal: stopped })).rejects.toThrow("stopped");
  expect(await readdir(join(folder, "transformer"))).toEqual([]);
  await writeSynthetic(tiny, folder);
  expect(await readFile(join(folder, "notes.txt"), "utf8")).toBe("kept");
});
