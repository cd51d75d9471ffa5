/** Quantized files, each with a way to damage it and a way to read it through a public door. */
import { elements } from "../../src/base/shape.ts";
import { expectWeights, findWeights } from "../../src/checkpoint/weight-index.ts";
import { openGguf, type GgufValue } from "../../src/files/gguf.ts";
import { writeGguf, type GgufTensorToWrite } from "../../src/files/gguf-write.ts";
import { quantize } from "../../src/files/quantize.ts";
import { writeSafetensors, type TensorToWrite } from "../../src/files/safetensors.ts";
import { type FORMATS, storedBytes } from "../../src/graph/stored.ts";
import { CogVideoX, memorySource, type Gpu } from "../../src/index.ts";
import { transformerMetadata } from "../../src/models/cogvideox/gguf.ts";
import { transformerWeights } from "../../src/models/cogvideox/weights.ts";
import { parseT5Config } from "../../src/models/t5/config.ts";
import { ggufMetadata, ggufName } from "../../src/models/t5/gguf.ts";
import { expectedT5Weights } from "../../src/models/t5/weights.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { toHalf, values } from "../support/compare.ts";
import { dequantized } from "../support/dequantize.ts";
import type { Mutator } from "../support/mutate.ts";
import { TINY_CONFIGS, tinyCheckpoint, tinyWeights } from "../support/tiny-checkpoint.ts";
import { check, filesOf, type Damage, type Files } from "./weights-damage.ts";

type Tensor = GgufTensorToWrite & { readonly data: ArrayBufferView };

/** A component's weights for a GGUF file, in blocks where their rows divide. */
function tensorsOf(component: "transformer" | "text_encoder", configs: Record<string, unknown>): Tensor[] {
  const text = component === "text_encoder";
  return [...tinyWeights(component, 1, configs)].map(([published, { shape, data }], i) => {
    const name = text ? ggufName(published)! : published;
    const type = (["q8_0", "q5_0", "q4_0"] as const)[i % 3]!;
    if (shape.length === 2 && shape[1]! % 32 === 0) return { name, type: type.toUpperCase(), shape, data: quantize(data, type) };
    return shape.length > 1 ? { name, type: "F16", shape, data: toHalf(data) } : { name, type: "F32", shape, data };
  });
}

const T5 = { ...TINY_CONFIGS.text_encoder, d_model: 32, d_ff: 64, relative_attention_max_distance: 128 };
const TRANSFORMER = { ...TINY_CONFIGS.transformer, text_embed_dim: 32 };

export async function quantizedDamages(gpu: Gpu): Promise<Damage[]> {
  const base = await filesOf(await tinyCheckpoint({ shaped: true, configs: { text_encoder: T5, transformer: TRANSFORMER } }));
  return [
    headers(),
    inPlace("a transformer in GGUF", gpu, base, "transformer", transformerMetadata(TRANSFORMER), tensorsOf("transformer", TRANSFORMER)),
    inPlace("a text encoder in GGUF", gpu, base, "textEncoder", ggufMetadata(parseT5Config(T5)), tensorsOf("text_encoder", T5)),
    blocks(gpu, base),
    scales(),
  ];
}

/** What a reader of its own finds in a GGUF file: places of tensors. It believes everything, and throws a RangeError beyond the end. */
function independent(bytes: Uint8Array): Map<string, { type: number; shape: number[]; offset: number; start: number }> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 8;
  const u32 = () => view.getUint32((at += 4) - 4, true);
  const u64 = () => Number(view.getBigUint64((at += 8) - 8, true));
  const text = () => {
    const length = u64();
    at += length;
    return new TextDecoder().decode(bytes.subarray(at - length, at));
  };
  const size = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
  let alignment = 32;
  const value = (type: number, key: string): void => {
    if (type === 8) text();
    else if (type === 9) for (let [of, n] = [u32(), u64()]; n > 0; n--) value(of, "");
    else {
      if (key === "general.alignment") alignment = view.getUint32(at, true);
      at += size[type]!;
    }
  };
  const [count, keys] = [u64(), u64()];
  for (let i = 0; i < keys; i++) {
    const key = text();
    value(u32(), key);
  }
  const found = Array.from({ length: count }, () => {
    const name = text();
    const shape = Array.from({ length: u32() }, u64).reverse();
    return [name, { shape, type: u32(), offset: u64() }] as const;
  });
  const start = Math.ceil(at / alignment) * alignment;
  return new Map(found.map(([name, told]) => [name, { ...told, start: start + told.offset }]));
}

const IDS: Readonly<Record<number, keyof typeof FORMATS>> = {
  0: "f32",
  1: "f16",
  2: "q4_0",
  6: "q5_0",
  8: "q8_0",
  12: "q4_k",
  13: "q5_k",
  14: "q6_k",
  30: "bf16",
};

/** The reader alone, against another reader. */
function headers(): Damage {
  const tensors = tensorsOf("transformer", TRANSFORMER).slice(0, 9);
  const metadata = transformerMetadata(TRANSFORMER).set("a.number", 7).set("a.share", 0.5).set("a.switch", true);
  const file = writeGguf(metadata, tensors);
  return {
    name: "GGUF",
    share: 4,
    draw: (m) => {
      const bytes = m.gguf(file);
      return async () => {
        const { tensors: read } = await openGguf(memorySource({ x: bytes }), "x");
        const told = independent(bytes);
        check(read.size === told.size && [...read.keys()].every((name) => told.has(name)), "other tensors than the file names");
        const places = [...read].map(([name, { type, shape, start, end }]) => {
          const other = told.get(name)!;
          const format = IDS[other.type];
          check(
            format?.toUpperCase() === type && shape.join() === other.shape.join() && start === other.start,
            `${name} is told otherwise`,
          );
          check(end - start === storedBytes({ shape, format: format! }) && end <= bytes.length, `${name} has other bytes`);
          return [start, end] as const;
        });
        places.sort(([a, b], [c, d]) => a - c || b - d);
        check(
          places.every(([start], i) => i === 0 || start >= places[i - 1]![1]),
          "tensors that overlap",
        );
      };
    },
  };
}

/** A file in a component's place, up to the check of its weights, the plan of a generation, and the bytes of every weight. */
async function openInPlace(gpu: Gpu, base: Files, option: "transformer" | "textEncoder", bytes: Uint8Array): Promise<void> {
  const file = { source: memorySource({ x: bytes }), path: "x" };
  await using model = await CogVideoX.open(memorySource(base), { gpu, [option]: file });
  const component = model.checkpoint.component(option === "transformer" ? "transformer" : "text_encoder");
  const expected = option === "transformer" ? transformerWeights(model.configs.transformer) : expectedT5Weights(model.configs.text);
  expectWeights(component, expected);
  for (const [name, shape] of expected) {
    const stored = component.weights!.stored(name);
    const data = new Uint8Array(storedBytes(stored));
    await stored.read(0, data);
    check(dequantized(data, stored).length === elements(shape), `${name} of another size`);
  }
  for (const { stage, choices: _choices, ...figures } of model.requirements())
    check(
      Object.values(figures).every((v) => typeof v !== "number" || (Number.isFinite(v) && v >= 0)),
      `figures of ${stage} that are no numbers`,
    );
}

function inPlace(
  name: string,
  gpu: Gpu,
  base: Files,
  option: "transformer" | "textEncoder",
  metadata: Map<string, GgufValue>,
  tensors: readonly Tensor[],
): Damage {
  const file = writeGguf(metadata, tensors);
  return {
    name,
    share: 2,
    draw: (m) => {
      const bytes = m.below(3) ? m.gguf(file) : retold(m, metadata, tensors);
      return () => openInPlace(gpu, base, option, bytes);
    },
  };
}

/** A file that is whole, and whose metadata, names, shapes or types have one thing changed. */
function retold(m: Mutator, metadata: ReadonlyMap<string, GgufValue>, tensors: readonly Tensor[]): Uint8Array {
  const [keys, list] = [new Map(metadata), [...tensors]];
  const at = m.below(list.length);
  const one = list[at]!;
  switch (m.below(5)) {
    case 0: {
      const key = m.pick([...keys.keys()]);
      const value = keys.get(key);
      if (typeof value === "string" && value.startsWith("{")) keys.set(key, new TextDecoder().decode(m.json(value)));
      else keys.set(key, m.pick<GgufValue>([0, 1, 3, 7, 4096, 2 ** 31, "x", true, 0.5, 1e9]));
      break;
    }
    case 1:
      keys.delete(m.pick([...keys.keys()]));
      break;
    case 2:
      list.splice(at, 1);
      break;
    case 3:
      list[at] = {
        ...one,
        name: m.pick([m.pick(list).name, "", "x".repeat(5000), "enc.blk.7.attn_q.weight", "dec.x", one.name.toUpperCase()]),
      };
      break;
    default:
      list[at] = { ...one, shape: m.pick([[...one.shape].reverse(), [1, ...one.shape], [elements(one.shape)]]) };
  }
  try {
    return writeGguf(keys, list);
  } catch {
    return m.gguf(writeGguf(keys, tensors)); // rows that are no blocks any more: the writer refuses them
  }
}

/** `_qweight` in safetensors. */
function blocks(gpu: Gpu, base: Files): Damage {
  const tensors = Object.fromEntries(
    tensorsOf("transformer", TRANSFORMER).map(({ name, type, shape, data }): [string, TensorToWrite] => {
      if (!type.startsWith("Q")) return [name, { dtype: type as "F16", shape, data }];
      return [name.replace(/weight$/, `${type}_qweight`), { dtype: "U8", shape: [shape[0]!, data.byteLength / shape[0]!], data }];
    }),
  );
  const file = writeSafetensors(tensors, { config: JSON.stringify(TRANSFORMER) });
  return {
    name: "blocks in safetensors",
    share: 2,
    draw: (m) => {
      const bytes = m.below(2)
        ? m.safetensors(file)
        : renamed(m, file, /Q\w_\w_qweight/g, ["Q3_K_qweight", "IQ4XS_qweight", "qweight_qwei", "Q4_K_qweight"]);
      return () => openInPlace(gpu, base, "transformer", bytes);
    },
  };
}

/** One place of the header's text replaced by another of the same length, so that all else holds. */
function renamed(m: Mutator, file: Uint8Array, what: RegExp, others: readonly string[]): Uint8Array {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const text = new TextDecoder("latin1").decode(file.subarray(8, 8 + length));
  const found = m.pick([...text.matchAll(what)]);
  const other = m.pick(others).slice(0, found[0].length).padEnd(found[0].length, "_");
  const out = Uint8Array.from(file);
  out.set(new TextEncoder().encode(other), 8 + found.index);
  return out;
}

/** fp8 with scales. */
function scales(): Damage {
  const matrix = (rows: number): TensorToWrite => ({ dtype: "F8_E4M3", shape: [rows, 8], data: new Uint8Array(8 * rows).fill(60) });
  const file = writeSafetensors({
    scaled_fp8: { dtype: "F8_E4M3", shape: [0], data: new Uint8Array(0) },
    "one.weight": matrix(2),
    "one.scale_weight": { dtype: "F32", shape: [], data: Float32Array.of(0.5) },
    "rows.weight": matrix(3),
    "rows.weight_scale": { dtype: "F32", shape: [3, 1], data: values(3, 1) },
    "bias.weight": { dtype: "F16", shape: [4], data: new Uint16Array(4) },
  });
  return {
    name: "fp8 with scales",
    share: 2,
    draw: (m) => {
      const bytes = m.below(2)
        ? m.safetensors(file)
        : renamed(m, file, /scale_weight|weight_scale|scaled_fp8|F8_E4M3/g, [
            "scale_weight",
            "weight_scale",
            "scale_input__",
            "F32",
            "F8_E5M2",
            "weight_scale_",
          ]);
      const source: CheckpointSource = memorySource({ "model.safetensors": bytes });
      return async () => {
        const index = await findWeights(source, "", "model");
        for (const [name, { format, shape, scale }] of index) {
          if (format === null) continue;
          const stored = index.stored(name);
          const data = new Uint8Array(storedBytes(stored));
          await stored.read(0, data);
          check(dequantized(data, stored).length === elements(shape), `${name} of another size`);
          if (!scale) continue;
          check(format === "e4m3" && (scale.length === 1 || scale.length === shape[0]), `${name} with a scale of another size`);
          check(scale.every(Number.isFinite), `${name} with a scale that is no number`);
        }
      };
    },
  };
}
