/** What the text encoder made of a prompt is kept: found again only where it is the same to the byte, and never in anybody's way. */
import { chmod, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import type { GenerateOptions } from "../../src/pipelines/options.ts";
import { clearPrompts, listPrompts } from "../../src/pipelines/prompt-cache.ts";
import { folderSource } from "../../src/sources/folder.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const ENVIRONMENT = { ...process.env };
let gpu: Gpu;
let folder: string;
let kept: string;
beforeAll(async () => {
  gpu = await testGpu();
  folder = await tinyCheckpoint();
});
beforeEach(async () => {
  if (kept) await rm(kept, { recursive: true, force: true });
  kept = await mkdtemp(join(tmpdir(), "cogwheel-prompts-"));
  Object.assign(process.env, { XDG_CACHE_HOME: kept, COGWHEEL_PROMPT_CACHE: "" });
});
afterAll(async () => {
  for (const name of ["XDG_CACHE_HOME", "COGWHEEL_PROMPT_CACHE"]) {
    if (ENVIRONMENT[name] === undefined) delete process.env[name];
    else process.env[name] = ENVIRONMENT[name];
  }
  await rm(kept, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

const base = { prompt: "a red circle moving left", seed: 7, frames: 1, steps: 1 } as const;
const place = () => join(kept, "cogwheel", "prompts");
const names = () => readdir(place()).catch((): string[] => []);

/** One generation by a model of its own, as another process would make it: its latents, and what was read of the text encoder. */
async function generated(options: Partial<GenerateOptions> = {}, { dtype = "f32" }: { dtype?: "f32" | "f16" } = {}, from = folder) {
  const files = await folderSource(from);
  const reads: string[] = [];
  const source: CheckpointSource = {
    ...files,
    read: (path, start, end, into, signal) => {
      reads.push(path);
      return files.read(path, start, end, into, signal);
    },
  };
  await using model = await CogVideoX.open(source, { gpu, dtype });
  reads.length = 0;
  const { state, seconds } = await model.generate({ ...base, ...options });
  return {
    latents: Buffer.from(state.latents.buffer).toString("base64"),
    encoded: reads.some((path) => path.startsWith("text_encoder/")),
    stages: Object.keys(seconds),
  };
}

describe("a second generation with a prompt", () => {
  it("reads nothing of the text encoder, and gives the same bytes", async () => {
    const first = await generated();
    expect(first.encoded).toBe(true);
    expect(await names()).toHaveLength(1);
    const second = await generated();
    expect(second).toEqual({ latents: first.latents, encoded: false, stages: first.stages.filter((name) => name !== "load text encoder") });
    expect((await generated({ seed: 8, samples: 2 })).encoded, "with other noise, and more of it").toBe(false);
  });

  it("finds it in f16 as well", async ({ skip }) => {
    if (!gpu.caps.f16) skip("needs shader-f16");
    const [first, second] = [await generated({}, { dtype: "f16" }), await generated({}, { dtype: "f16" })];
    expect([first.encoded, second.encoded]).toEqual([true, false]);
    expect(second.latents).toBe(first.latents);
    expect((await generated()).encoded, "of f32").toBe(true);
  });

  it.for<[string, Partial<GenerateOptions>]>([
    ["another prompt", { prompt: "a blue square" }],
    ["another negative prompt", { negative: "a green triangle" }],
    ["no guidance", { guidance: 1 }],
    ["another profile, which pads prompts otherwise or not", { profile: "sat" }],
  ])("with %s encodes what is another text", async ([, options]) => {
    await generated();
    const [first, second] = [await generated(options), await generated(options)];
    expect(second.encoded).toBe(false);
    expect(second.latents).toBe(first.latents);
  });

  it("keeps and uses none with cache: false, and with COGWHEEL_PROMPT_CACHE=off", async () => {
    const { latents } = await generated({ cache: false });
    expect(await names()).toEqual([]);
    await generated();
    expect(await generated({ cache: false })).toMatchObject({ latents, encoded: true });
    process.env["COGWHEEL_PROMPT_CACHE"] = "off";
    expect(await generated()).toMatchObject({ latents, encoded: true });
    process.env["COGWHEEL_PROMPT_CACHE"] = "lots";
    await expect(generated()).rejects.toThrow(/\[cache\] COGWHEEL_PROMPT_CACHE must be off or a number of bytes such as 2GB, got "lots"/);
  });
});

describe("other weights under the same names", () => {
  it("are noticed, whatever their size and times say", async () => {
    const own = await tinyCheckpoint();
    const first = await generated({}, {}, own);
    const [file] = (await readdir(join(own, "text_encoder"))).filter((name) => name.endsWith(".safetensors"));
    const path = join(own, "text_encoder", file!);
    const { atime, mtime } = await stat(path);
    const bytes = await readFile(path);
    // Signs of some values of every tensor; a file begins with the length of its header.
    for (let at = bytes.length - 1; at > 8 + Number(bytes.readBigUInt64LE(0)); at -= 20) bytes[at]! ^= 0x80;
    await writeFile(path, bytes);
    await utimes(path, atime, mtime);
    const second = await generated({}, {}, own);
    expect(second.encoded).toBe(true);
    expect(second.latents).not.toBe(first.latents);
  });

  it("of a source that cannot tell are encoded every time", async () => {
    const files = await folderSource(folder);
    const { version: _, ...blind } = files;
    await using model = await CogVideoX.open(blind, { gpu, dtype: "f32" });
    await model.generate(base);
    expect(await names()).toEqual([]);
  });
});

describe("what is kept", () => {
  it("and damaged is encoded anew, to the same bytes", async () => {
    const { latents } = await generated();
    const [name] = await names();
    const path = join(place(), name!);
    const whole = await readFile(path);
    const flipped = Buffer.from(whole);
    flipped[whole.length - 3]! ^= 1;
    for (const bytes of [flipped, whole.subarray(0, whole.length - 4), whole.subarray(0, 3), Buffer.from("{}"), Buffer.alloc(0)]) {
      await writeFile(path, bytes);
      expect(await generated(), `${bytes.length} bytes`).toMatchObject({ latents, encoded: true });
      expect(Buffer.compare(await readFile(path), whole), "and kept anew").toBe(0);
    }
  });

  it("is listed, what was used last first, and forgotten", async () => {
    await generated();
    await generated({ prompt: "a blue square", guidance: 1 });
    await generated();
    const { prompts, place: told } = (await listPrompts())!;
    expect(told).toBe(place());
    expect(prompts.map((one) => one.prompts)).toEqual([["", base.prompt], ["a blue square"]]);
    expect(prompts[0]).toMatchObject({ model: folder, bytes: expect.any(Number), used: expect.any(Date) });
    expect((await stat(place())).mode & 0o077, "nobody else's to read").toBe(0);
    await writeFile(join(place(), "junk.safetensors"), "junk");
    expect((await listPrompts())!.prompts).toHaveLength(3);
    expect((await clearPrompts()).files).toBe(3);
    expect(await names()).toEqual([]);
    expect(await clearPrompts()).toEqual({ files: 0, bytes: 0 });
  });

  it("makes room for what is new: what was not used for the longest time goes", async () => {
    await generated();
    const [name] = await names();
    const { size } = await stat(join(place(), name!));
    await generated({ prompt: "b" });
    await generated(); // used again
    process.env["COGWHEEL_PROMPT_CACHE"] = String(Math.ceil(2.5 * size));
    await generated({ prompt: "c" });
    expect((await listPrompts())!.prompts.map(({ prompts }) => prompts.at(-1))).toEqual(["c", base.prompt]);
    process.env["COGWHEEL_PROMPT_CACHE"] = "100";
    await generated({ prompt: "d" });
    expect(await names(), "what is larger than all that may be kept takes nobody's place").toHaveLength(2);
  });

  it("is nobody's trouble where nothing can be written", async () => {
    await chmod(kept, 0o500);
    const root = process.getuid?.() === 0; // who may write anywhere; a file in the folder's place stops root too
    if (root) await writeFile(join(kept, "cogwheel"), "a file");
    expect((await generated()).encoded).toBe(true);
    expect((await generated()).encoded).toBe(true);
    await chmod(kept, 0o700);
  });
});
