/**
 * Damaged files through the public doors. Each must be refused by a CogwheelError that says what was got, or be read for exactly what it
 * says; it must never crash, hang, or take memory that the file does not fill. `COGWHEEL_FUZZ=5000` makes that many of each kind (50
 * unless told), `COGWHEEL_FUZZ_SEED` others. A failure names its seed: `COGWHEEL_FUZZ_SEED=<seed> COGWHEEL_FUZZ=1` is that one alone.
 */
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DTYPE_BYTES, elementCount } from "../../src/checkpoint/dtype.ts";
import { openSafetensors, writeSafetensors } from "../../src/checkpoint/safetensors.ts";
import { T5Tokenizer } from "../../src/checkpoint/t5-tokenizer.ts";
import { expectWeights } from "../../src/checkpoint/weights.ts";
import { CogVideoX, CogwheelError, loadLora, memorySource, readLatents, writeLatents, type Gpu } from "../../src/index.ts";
import { loraChanges } from "../../src/models/lora.ts";
import { expectedT5Weights } from "../../src/models/t5/config.ts";
import { transformerWeights } from "../../src/models/transformer/config.ts";
import { vaeWeights } from "../../src/models/vae/graphs.ts";
import { readCase } from "../../src/reference/case.ts";
import { runCase } from "../../src/reference/run.ts";
import { values } from "../support/compare.ts";
import { testGpu } from "../support/gpu.ts";
import { Mutator } from "../support/mutate.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const COUNT = Number(process.env["COGWHEEL_FUZZ"] ?? 50);
const SEED = Number(process.env["COGWHEEL_FUZZ_SEED"] ?? 1);
/** Far above what the slowest of these takes on a busy machine, far below a hang. */
const SECONDS = 30;

/** Runs `read` on damaged copies. It returns what it read, or throws; `count` makes fewer where one takes long. */
async function damaged(kind: string, make: (m: Mutator) => Uint8Array | ReadonlyMap<string, Uint8Array>, read: (file: any) => Promise<unknown>, count = COUNT): Promise<{ refused: number; read: number }> {
  const found = { refused: 0, read: 0 };
  for (let i = 0; i < count; i++) {
    const seed = SEED + i;
    const file = make(new Mutator(seed));
    const from = performance.now();
    try {
      await read(file);
      found.read++;
    } catch (error) {
      const good = error instanceof CogwheelError && /^\[[\w. ]+\] .{12,}/s.test(error.message) && error.message.length < 20_000;
      if (!good) throw new Error(`${kind}, seed ${seed}: a damaged file must be refused by a CogwheelError, got ${error instanceof Error ? `${error.name}: ${error.message.slice(0, 300)}\n${error.stack?.slice(-1500)}` : String(error)}`, { cause: error });
      found.refused++;
    }
    const seconds = (performance.now() - from) / 1000;
    if (seconds > SECONDS) throw new Error(`${kind}, seed ${seed}: took ${seconds.toFixed(1)} s`);
  }
  expect(found.refused, `${kind}: damage is noticed`).toBeGreaterThan(count === 1 ? -1 : 0);
  return found;
}

let gpu: Gpu;
let checkpoint: ReadonlyMap<string, Uint8Array>;
let sharded: ReadonlyMap<string, Uint8Array>;

async function filesOf(folder: string): Promise<Map<string, Uint8Array>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(await Promise.all(files.map(async (file) => [relative(folder, file).replaceAll("\\", "/"), new Uint8Array(await readFile(file))] as const)));
}

beforeAll(async () => {
  gpu = await testGpu();
  checkpoint = await filesOf(await tinyCheckpoint());
  sharded = await filesOf(await tinyCheckpoint({ shards: 3 }));
});
afterAll(removeTinyCheckpoints);

const f32 = (shape: number[], seed = 1) => ({ dtype: "F32" as const, shape, data: values(elementCount(shape), seed) });

describe("safetensors", () => {
  const file = writeSafetensors(
    { a: f32([3, 4]), b: { dtype: "F16", shape: [2, 3], data: new Uint16Array(6) }, "c.weight": { dtype: "I64", shape: [2], data: new BigInt64Array(2) }, d: f32([]), e: f32([0, 7]), f: { dtype: "U8", shape: [5], data: new Uint8Array(5) } },
    { format: "pt", note: "✓" },
  );
  test("what is read is what the header says, byte for byte", async () => {
    await damaged("safetensors", (m) => m.safetensors(file), async (bytes: Uint8Array) => {
      const opened = await openSafetensors(memorySource({ x: bytes }, "x"), "x");
      // What it took for a tensor is in the file under that name, with that shape and at that place.
      const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
      const header = JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(8, 8 + length))) as Record<string, { dtype: keyof typeof DTYPE_BYTES; shape: number[]; data_offsets: [number, number] }>;
      expect([...opened.tensors.keys()].sort()).toEqual(Object.keys(header).filter((k) => k !== "__metadata__").sort());
      for (const [name, { dtype, shape }] of opened.tensors) {
        const told = header[name]!;
        expect({ dtype, shape }).toEqual({ dtype: told.dtype, shape: told.shape });
        const { bytes: got } = await opened.read(name);
        expect(got.length).toBe(elementCount(shape) * DTYPE_BYTES[dtype]);
        expect(Buffer.compare(got, bytes.subarray(8 + length + told.data_offsets[0], 8 + length + told.data_offsets[1]))).toBe(0);
      }
    }, 4 * COUNT);
  });
});

/** Opens a checkpoint as an app does, up to the check of its weights and the plan of a generation. */
async function openAndPlan(files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  await using model = await CogVideoX.open(memorySource(files), { gpu });
  expectWeights(model.checkpoint.component("text_encoder"), expectedT5Weights(model.configs.text));
  expectWeights(model.checkpoint.component("transformer"), transformerWeights(model.configs.transformer));
  expectWeights(model.checkpoint.component("vae"), vaeWeights(model.configs.vae));
  await T5Tokenizer.open(model.checkpoint.source);
  for (const { stage: _stage, choices: _choices, ...figures } of model.requirements()) expect(Object.values(figures).every((v) => Number.isFinite(v) && v >= 0)).toBe(true);
}

const replaced = (files: ReadonlyMap<string, Uint8Array>, path: string, bytes: Uint8Array) => new Map(files).set(path, bytes);
const json = (files: ReadonlyMap<string, Uint8Array>, path: string, m: Mutator) => replaced(files, path, m.json(new TextDecoder().decode(files.get(path))));

describe("a checkpoint", () => {
  test("undamaged, is opened and planned", async () => {
    await openAndPlan(checkpoint);
    await openAndPlan(sharded);
  });
  test.each(["model_index.json", "transformer/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json", "generation.json", "tokenizer/tokenizer_config.json"])("%s", async (path) => {
    await damaged(path, (m) => json(checkpoint, path, m), openAndPlan);
  });
  test("the index of shards", async () => {
    const path = [...sharded.keys()].find((name) => /^transformer\/.*index\.json$/.test(name))!;
    await damaged(path, (m) => json(sharded, path, m), openAndPlan);
  });
  test("weights", async () => {
    const paths = [...checkpoint.keys(), ...sharded.keys()].filter((name) => name.endsWith(".safetensors"));
    await damaged("weights", (m) => {
      const path = m.pick(paths);
      const files = checkpoint.has(path) ? checkpoint : sharded;
      return replaced(files, path, m.safetensors(files.get(path)!));
    }, openAndPlan);
  });
  test("files that are not there", async () => {
    await damaged("a missing file", (m) => {
      const files = new Map(m.pick([checkpoint, sharded]));
      files.delete(m.pick([...files.keys()].filter((name) => !/generation|tokenizer_config/.test(name))));
      return files;
    }, openAndPlan, Math.min(COUNT, 40));
  });
});

describe("a tokenizer", () => {
  test("spiece.model", async () => {
    const model = checkpoint.get("tokenizer/spiece.model")!;
    // The normaliser's rules are most of the file; the vocabulary and the settings around them are where damage shows.
    const small = Uint8Array.from(model);
    await damaged("spiece.model", (m) => m.bytes(small), async (bytes: Uint8Array) => {
      const tokenizer = new T5Tokenizer(bytes);
      for (const text of ["a red circle ﬁ½ 漢字 🐼\u0301", " ", "x".repeat(200)]) {
        const { ids, length } = tokenizer.encode(text, 24);
        expect(ids.length).toBe(24);
        expect(length).toBeLessThanOrEqual(24);
        expect([...ids].every((id) => Number.isInteger(id) && id >= 0 && id < tokenizer.sentencePiece.vocabularySize)).toBe(true);
      }
    });
  });
});

describe("an adapter", () => {
  const names = ["transformer_blocks.0.attn1.to_q", "transformer_blocks.0.ff.net.2"];
  const file = writeSafetensors(
    Object.fromEntries(names.flatMap((name, i) => [[`transformer.${name}.lora_A.weight`, f32([2, 8], i)], [`transformer.${name}.lora_B.weight`, f32([8, 2], i + 5)], [`transformer.${name}.alpha`, f32([])]])),
    { lora_adapter_metadata: JSON.stringify({ "transformer.lora_alpha": 4, "transformer.r": 2, "transformer.alpha_pattern": { to_q: 2 } }) },
  );
  test("from bytes, onto the weights it names", async () => {
    await damaged("LoRA", (m) => m.safetensors(file), async (bytes: Uint8Array) => {
      const adapter = await loadLora(bytes);
      const changes = loraChanges([{ ...adapter, scale: 1 }], names.map((name) => `${name}.weight`), (name) => (names.includes(name.replace(/\.weight$/, "")) ? [8, 8] : undefined));
      for (const list of changes.values()) for (const { up, down, rank, factor } of list) {
        expect([up.length, down.length]).toEqual([8 * rank, 8 * rank]);
        expect(Number.isFinite(factor) && [...up, ...down].every(Number.isFinite)).toBe(true);
      }
    }, 3 * COUNT);
  });
});

describe("saved latents", () => {
  const shape = [1, 2, 4, 2, 3];
  const file = writeLatents({ state: { step: 2, latents: values(48, 1), original: values(48, 2), condition: values(48, 3), task: "image" }, shape, settings: { height: 16, seed: 7, prompt: "x", scheduler: "dpm" } });
  test("from bytes", async () => {
    await damaged("latents", (m) => m.safetensors(file), async (bytes: Uint8Array) => {
      const { state, shape: got } = await readLatents(bytes, "run.safetensors");
      expect(state.latents.length).toBe(elementCount(got));
      expect(state.latents.every(Number.isFinite)).toBe(true);
      expect(Number.isSafeInteger(state.step) && state.step >= 0).toBe(true);
    }, 3 * COUNT);
  });
});

describe("a reference case", () => {
  const folder = join(import.meta.dirname, "../reference/cases");
  const paths = [
    "torch.randn/n15_3d", "T5Tokenizer/no_dummy_prefix", "CogVideoXDDIMScheduler/trailing_2_snr3", "CogVideoXDPMScheduler/leading_2", "scaled_dot_product_attention/d32_s13", "apply_rotary_emb/linspace_portrait_d32",
    "CogVideoXCausalConv3d/k3_cache", "CogVideoXLayerNormZero/c36", "CogVideoXSpatialNorm3D/1frame", "CogVideoXBlock/1x16_rotary", "T5EncoderModel/s29_padded", "CogVideoXTransformer3DModel/5b_lora", "AutoencoderKLCogVideoX.decode/1f_channels", "AutoencoderKLCogVideoX.encode/1f_channels",
  ];
  let cases: ReadonlyMap<string, Uint8Array>;
  beforeAll(async () => void (cases = new Map(await Promise.all(paths.map(async (path) => [path, new Uint8Array(await readFile(join(folder, `${path}.safetensors`)))] as const)))));

  test("as bytes", async () => {
    await damaged("a case", (m) => m.safetensors(cases.get(m.pick(paths))!), async (bytes: Uint8Array) => void (await readCase(bytes, "mine")), 2 * COUNT);
  });

  test("that can be read and says nonsense is refused by its module", async () => {
    await damaged("a case's config or options", (m) => lie(m, cases.get(m.pick(paths))!), async (bytes: Uint8Array) => {
      const result = await runCase(gpu, await readCase(bytes, "mine"));
      if (result.error !== undefined) throw new CogwheelError("reference", /^\[/.test(result.error) || result.verdict === "unsupported" ? `refused: ${result.error}` : (() => { throw new Error(result.error); })());
      for (const o of result.outputs) expect(o.note ?? "").not.toMatch(/finite/);
    });
  });
});

/** A file that is whole, and whose config, options, names or shapes have one thing changed. */
function lie(m: Mutator, source: Uint8Array): Uint8Array {
  const length = Number(new DataView(source.buffer, source.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(source.subarray(8, 8 + length))) as Record<string, any>;
  const names = Object.keys(header).filter((name) => name !== "__metadata__");
  const kind = m.below(4);
  const part = m.pick(["config", "options"] as const);
  if (kind < 2 && header["__metadata__"][part] !== "{}") header["__metadata__"][part] = new TextDecoder().decode(m.json(header["__metadata__"][part]));
  else if (kind === 2) {
    const name = m.pick(names);
    const { shape } = header[name];
    header[name].shape = m.pick([[...shape].reverse(), [elementCount(shape)], [1, ...shape], shape.slice(1).length ? [shape[0] * shape[1], ...shape.slice(2)] : [1, 1, ...shape]]);
  } else {
    const [name, other] = [m.pick(names), m.pick(["input.sample", "weight.x", "input.hidden_states", "lora.7.x.lora_A.weight", "output.sample"])];
    if (!(other in header)) {
      header[other] = header[name];
      delete header[name];
    }
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const out = new Uint8Array(8 + text.length + source.length - 8 - length);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  out.set(source.subarray(8 + length), 8 + text.length);
  return out;
}
