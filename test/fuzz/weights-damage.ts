/** Files of weights and of what belongs to them, each with a way to damage it and a way to read it through a public door. */
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { elements } from "../../src/base/shape.ts";
import { DTYPE_BYTES } from "../../src/files/safetensors-dtype.ts";
import { openSafetensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { T5Tokenizer } from "../../src/text/t5-tokenizer.ts";
import { expectWeights } from "../../src/checkpoint/weight-index.ts";
import { CogVideoX, CogwheelError, loadLora, memorySource, readLatents, writeLatents, type Gpu } from "../../src/index.ts";
import { parseLoraConfig } from "../../src/models/lora/config.ts";
import { loraChanges } from "../../src/models/lora/changes.ts";
import { expectedT5Weights } from "../../src/models/t5/weights.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { vaeWeights } from "../../src/models/vae/batches.ts";
import { readCase } from "../../src/check/reference/case.ts";
import { runCase } from "../../src/check/reference/run.ts";
import { values } from "../support/compare.ts";
import type { Mutator } from "../support/mutate.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoint.ts";

/** What was read is not what the file says. */
export class Wrong extends Error {}

export function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Wrong(what);
}

export interface Damage {
  readonly name: string;
  /** How many there are of it, beside 1 of the others. */
  readonly share: number;
  /** A damaged copy, and what reads it: it returns, throws what refuses the file, or `Wrong`. */
  draw(m: Mutator): () => Promise<void>;
}

const f32 = (shape: number[], seed = 1) => ({ dtype: "F32" as const, shape, data: values(elements(shape), seed) });
export type Files = ReadonlyMap<string, Uint8Array>;

export async function filesOf(folder: string): Promise<Files> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    await Promise.all(
      files.map(async (file) => [relative(folder, file).replaceAll("\\", "/"), new Uint8Array(await readFile(file))] as const),
    ),
  );
}

/** @param gpu for checkpoints and cases, whose plans and runs it takes */
export async function damages(gpu: Gpu): Promise<Damage[]> {
  const [whole, sharded] = await Promise.all([tinyCheckpoint().then(filesOf), tinyCheckpoint({ shards: 3 }).then(filesOf)]);
  return [
    safetensors(),
    ...checkpoint(gpu, whole, sharded),
    tokenizer(whole.get("tokenizer/spiece.model")!),
    adapter(),
    adapterConfig(),
    latents(),
    ...(await cases(gpu)),
  ];
}

function safetensors(): Damage {
  const file = writeSafetensors(
    {
      a: f32([3, 4]),
      b: { dtype: "F16", shape: [2, 3], data: new Uint16Array(6) },
      "c.weight": { dtype: "I64", shape: [2], data: new BigInt64Array(2) },
      d: f32([]),
      e: f32([0, 7]),
      f: { dtype: "U8", shape: [5], data: new Uint8Array(5) },
    },
    { format: "pt", note: "✓" },
  );
  return {
    name: "safetensors",
    share: 4,
    draw: (m) => {
      const bytes = m.safetensors(file);
      return async () => {
        const opened = await openSafetensors(memorySource({ x: bytes }, "x"), "x");
        // What it took for a tensor is in the file under that name, with that shape and at that place.
        const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
        const header = JSON.parse(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(8, 8 + length))) as Record<
          string,
          { dtype: keyof typeof DTYPE_BYTES; shape: number[]; data_offsets: [number, number] }
        >;
        const names = Object.keys(header).filter((k) => k !== "__metadata__");
        check(
          names.length === opened.tensors.size && names.every((name) => opened.tensors.has(name)),
          "other tensors than the header names",
        );
        for (const [name, { dtype, shape }] of opened.tensors) {
          const told = header[name]!;
          check(dtype === told.dtype && shape.join() === told.shape.join(), `${name} of another dtype or shape`);
          const { bytes: got } = await opened.read(name);
          check(got.length === elements(shape) * DTYPE_BYTES[dtype], `${name} of another size`);
          check(
            Buffer.compare(got, bytes.subarray(8 + length + told.data_offsets[0], 8 + length + told.data_offsets[1])) === 0,
            `${name} from another place`,
          );
        }
      };
    },
  };
}

/** Opens a checkpoint as an app does, up to the check of its weights and the plan of a generation. */
async function openAndPlan(gpu: Gpu, files: Files): Promise<void> {
  await using model = await CogVideoX.open(memorySource(files), { gpu });
  expectWeights(model.checkpoint.component("text_encoder"), expectedT5Weights(model.configs.text));
  expectWeights(model.checkpoint.component("transformer"), transformerWeights(model.configs.transformer));
  expectWeights(model.checkpoint.component("vae"), vaeWeights(model.configs.vae));
  await T5Tokenizer.open(model.checkpoint.source);
  for (const { stage, choices: _choices, residence = {}, apart: _apart, ...figures } of model.requirements())
    check(
      [...Object.values(figures), ...Object.values(residence)].every((v) => typeof v === "number" && v >= 0 && v < Infinity),
      `figures of ${stage} that are no numbers`,
    );
}

function checkpoint(gpu: Gpu, whole: Files, sharded: Files): Damage[] {
  const replaced = (files: Files, path: string, bytes: Uint8Array) => new Map(files).set(path, bytes);
  const text = (files: Files, path: string) => new TextDecoder().decode(files.get(path));
  const of = (name: string, share: number, make: (m: Mutator) => Files): Damage => ({
    name,
    share,
    draw: (m) => {
      const files = make(m);
      return () => openAndPlan(gpu, files);
    },
  });
  const configs = [
    "model_index.json",
    "transformer/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "generation.json",
    "tokenizer/tokenizer_config.json",
  ];
  const index = [...sharded.keys()].find((name) => /^transformer\/.*index\.json$/.test(name))!;
  const weights = [...whole.keys(), ...sharded.keys()].filter((name) => name.endsWith(".safetensors"));
  return [
    ...configs.map((path) => of(path, 1, (m) => replaced(whole, path, m.json(text(whole, path))))),
    of("the index of shards", 1, (m) => replaced(sharded, index, m.json(text(sharded, index)))),
    of("weights", 1, (m) => {
      const path = m.pick(weights);
      const files = whole.has(path) ? whole : sharded;
      return replaced(files, path, m.safetensors(files.get(path)!));
    }),
    of("a missing file", 1, (m) => {
      const files = new Map(m.pick([whole, sharded]));
      files.delete(m.pick([...files.keys()].filter((name) => !/generation|tokenizer_config/.test(name))));
      return files;
    }),
    of("a file in another's place", 1, (m) => {
      const files = m.pick([whole, sharded]);
      const paths = [...files.keys()].filter((name) => !/generation|SHA256SUMS|README|LICENSE/.test(name));
      const [path, other] = [m.pick(paths), m.pick(paths)];
      return replaced(
        files,
        path,
        path === other ? new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\n") : files.get(other)!,
      );
    }),
  ];
}

function tokenizer(model: Uint8Array): Damage {
  return {
    name: "spiece.model",
    share: 3,
    draw: (m) => {
      const bytes = m.bytes(model);
      return async () => {
        const found = new T5Tokenizer(bytes);
        for (const text of ["a red circle ﬁ½ 漢字 🐼\u0301", " ", "x".repeat(200), "\ufdfa".repeat(50)]) {
          const { ids, length } = found.encode(text, 24);
          check(ids.length === 24 && length <= 24, "another number of ids");
          check(
            [...ids].every((id) => Number.isInteger(id) && id >= 0 && id < found.sentencePiece.vocabularySize),
            "ids beyond the vocabulary",
          );
        }
      };
    },
  };
}

const MODULES = ["transformer_blocks.0.attn1.to_q", "transformer_blocks.0.ff.net.2"];
const shapeOf = (name: string) => (MODULES.includes(name.replace(/\.weight$/, "")) ? [8, 8] : undefined);
/** The changes of a damaged adapter, which must be numbers in the sizes of the weights. */
function checkChanges(adapter: Awaited<ReturnType<typeof loadLora>>): void {
  const changes = loraChanges(
    [{ ...adapter, scale: 1 }],
    MODULES.map((name) => `${name}.weight`),
    shapeOf,
  );
  for (const list of changes.values())
    for (const { up, down, rank, factor } of list) {
      check(up.length === 8 * rank && down.length === 8 * rank, "matrices of another size");
      check(Number.isFinite(factor) && up.every(Number.isFinite) && down.every(Number.isFinite), "numbers that are not finite");
    }
}

function adapter(): Damage {
  const file = writeSafetensors(
    Object.fromEntries(
      MODULES.flatMap((name, i) => [
        [`transformer.${name}.lora_A.weight`, f32([2, 8], i)],
        [`transformer.${name}.lora_B.weight`, f32([8, 2], i + 5)],
      ]),
    ),
    {
      lora_adapter_metadata: JSON.stringify({ "transformer.lora_alpha": 4, "transformer.r": 2, "transformer.alpha_pattern": { to_q: 2 } }),
    },
  );
  return {
    name: "an adapter",
    share: 3,
    draw: (m) => {
      const bytes = m.safetensors(file);
      return async () => checkChanges(await loadLora(bytes));
    },
  };
}

/** Damage to the config of PEFT's, and patterns from a stranger. */
function adapterConfig(): Damage {
  const file = writeSafetensors(
    Object.fromEntries(
      MODULES.flatMap((name, i) => [
        [`base_model.model.${name}.lora_A.weight`, f32([2, 8], i)],
        [`base_model.model.${name}.lora_B.weight`, f32([8, 2], i + 5)],
      ]),
    ),
  );
  const config = {
    peft_type: "LORA",
    r: 2,
    lora_alpha: 4,
    use_rslora: true,
    use_dora: false,
    bias: "none",
    init_lora_weights: true,
    modules_to_save: null,
    target_modules: ["to_q", "net.2"],
    rank_pattern: { to_q: 2 },
    alpha_pattern: { "^transformer_blocks\\.0\\.attn1\\.to_[qkv]": 8, "ff.*": 2 },
    layers_to_transform: [0],
    layers_pattern: "transformer_blocks",
  };
  const pieces = [
    "(",
    ")",
    "*",
    "+",
    "?",
    "{",
    "}",
    "[",
    "]",
    "|",
    "^",
    "$",
    ".",
    ".*",
    "a",
    "to_q",
    "{9}",
    "{99999}",
    "(?:",
    "(?=",
    "(?<!",
    "(?P<n>",
    "(?i)",
    "\\",
    "\\d",
    "\\1",
    "\\Z",
    "-",
    "é",
    "🐼",
    "\u0000",
    "(a*)*",
    "((.*)*)*",
  ];
  return {
    name: "an adapter's config",
    share: 3,
    draw: (m) => {
      const pattern = Array.from({ length: 1 + m.below(12) }, () => m.pick(pieces)).join("");
      const text = m.below(2)
        ? new TextDecoder().decode(m.json(JSON.stringify(config)))
        : JSON.stringify({
            ...config,
            [m.pick(["alpha_pattern", "rank_pattern"])]: { [pattern]: 2 },
            ...(m.below(3) ? {} : { target_modules: pattern, layers_to_transform: null }),
            ...(m.below(4) ? {} : { layers_pattern: pattern }),
          });
      return async () =>
        checkChanges(
          await loadLora(file, { config: parseLoraConfig(text, (rule) => new CogwheelError("lora", `the config ${rule}; save it again`)) }),
        );
    },
  };
}

function latents(): Damage {
  const file = writeLatents({
    state: { step: 2, latents: values(48, 1), original: values(48, 2), condition: values(48, 3), task: "image" },
    shape: [1, 2, 4, 2, 3],
    settings: { height: 16, seed: 7, prompt: "x", scheduler: "dpm" },
  });
  return {
    name: "latents",
    share: 3,
    draw: (m) => {
      const bytes = m.safetensors(file);
      return async () => {
        const { state, shape } = await readLatents(bytes, "run.safetensors");
        check(
          state.latents.length === elements(shape) && state.latents.every(Number.isFinite),
          "latents that do not fit their shape, or are no numbers",
        );
        check(Number.isSafeInteger(state.step) && state.step >= 0, `step ${state.step}`);
      };
    },
  };
}

const CASES = [
  "torch.randn/n15_3d",
  "T5Tokenizer/no_dummy_prefix",
  "CogVideoXDDIMScheduler/trailing_2_snr3",
  "CogVideoXDPMScheduler/leading_2",
  "scaled_dot_product_attention/d32_s13",
  "apply_rotary_emb/linspace_portrait_d32",
  "CogVideoXCausalConv3d/k3_cache",
  "CogVideoXLayerNormZero/c36",
  "CogVideoXSpatialNorm3D/1frame",
  "CogVideoXBlock/1x16_rotary",
  "T5EncoderModel/s29_padded",
  "CogVideoXTransformer3DModel/5b_lora",
  "AutoencoderKLCogVideoX.decode/1f_channels",
  "AutoencoderKLCogVideoX.encode/1f_channels",
];

async function cases(gpu: Gpu): Promise<Damage[]> {
  const files = await Promise.all(
    CASES.map(async (path) => new Uint8Array(await readFile(join("test/reference/cases", `${path}.safetensors`)))),
  );
  return [
    {
      name: "a case",
      share: 2,
      draw: (m) => {
        const bytes = m.safetensors(m.pick(files));
        return async () => void (await readCase(bytes, "mine"));
      },
    },
    {
      name: "a case's config or options",
      share: 1,
      draw: (m) => {
        const bytes = lie(m, m.pick(files));
        return async () => {
          const result = await runCase(gpu, await readCase(bytes, "mine"));
          if (result.error !== undefined)
            throw /^\[/.test(result.error) || result.verdict === "unsupported"
              ? new CogwheelError("reference", `refused: ${result.error}`)
              : new Error(result.error);
          for (const o of result.outputs) check(!/finite/.test(o.note ?? ""), `${o.output}: ${o.note}`);
        };
      },
    },
  ];
}

/** A file that is whole, and whose config, options, names or shapes have one thing changed. */
function lie(m: Mutator, source: Uint8Array): Uint8Array {
  const length = Number(new DataView(source.buffer, source.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(source.subarray(8, 8 + length))) as Record<string, any>;
  const names = Object.keys(header).filter((name) => name !== "__metadata__");
  const kind = m.below(4);
  const part = m.pick(["config", "options"] as const);
  if (kind < 2 && header["__metadata__"][part] !== "{}")
    header["__metadata__"][part] = new TextDecoder().decode(m.json(header["__metadata__"][part]));
  else if (kind === 2) {
    const name = m.pick(names);
    const { shape } = header[name];
    header[name].shape = m.pick([
      [...shape].reverse(),
      [elements(shape)],
      [1, ...shape],
      shape.slice(1).length ? [shape[0] * shape[1], ...shape.slice(2)] : [1, 1, ...shape],
    ]);
  } else {
    const [name, other] = [
      m.pick(names),
      m.pick(["input.sample", "weight.x", "input.hidden_states", "lora.7.x.lora_A.weight", "output.sample"]),
    ];
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
