/**
 * A component's weights by name, from the tensors of its files. Most tensors are weights as they stand. Quantized safetensors need
 * reading: ggml's blocks lie as bytes under `‹module›.Q4_0_qweight`, and scaled fp8 has the scale of a matrix beside it.
 */
import type { CogwheelError } from "../base/errors.ts";
import { toFloat32 } from "../files/convert.ts";
import { isSafetensorsDType } from "../files/safetensors-dtype.ts";
import { readTensor, type SafetensorsFile, type TensorInfo } from "../files/safetensors.ts";
import { FORMATS, type Format } from "../graph/stored.ts";
import { checkpointError, type CheckpointSource } from "../sources/source.ts";

/** A tensor as a file has it, whichever kind of file that is. */
export interface PlacedTensor {
  /** Path of the file within its source. */
  readonly file: string;
  /** As the file calls its type: F16, F8_E4M3, Q4_0. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file, and one past the last. */
  readonly start: number;
  readonly end: number;
}

/** A weight and where it is stored. */
export interface WeightEntry extends PlacedTensor {
  /** The tensor's name in its file, where that is not the weight's. */
  readonly tensor: string;
  /** How it is stored; null for types that no weight of a published model has (F64, integers). */
  readonly format: Format | null;
  /** Every value is multiplied with it: one number, or one a row. */
  readonly scale?: Float32Array;
}

/** How a tensor of this type is stored, by the name that its file gives the type. */
export function formatOf(dtype: string): Format | null {
  if (dtype === "F8_E4M3") return "e4m3";
  const name = dtype.toLowerCase();
  return Object.hasOwn(FORMATS, name) && name !== "e4m3" ? (name as Format) : null;
}

/** Names of the quantized formats as files have them, for messages. */
export const QUANTIZED = Object.keys(FORMATS)
  .filter((name) => FORMATS[name as Format].values > 1)
  .map((name) => name.toUpperCase());

/** The tensors of several files, by name; of a name that several have, the last. */
export function placed(files: Iterable<SafetensorsFile>): Map<string, PlacedTensor> {
  const entries = new Map<string, PlacedTensor>();
  for (const { path, tensors } of files) {
    for (const [name, info] of tensors) entries.set(name, { ...info, file: path });
  }
  return entries;
}

/** What Comfy writes beside scaled weights, and what says nothing about them. */
const MARKER = "scaled_fp8";
const BESIDE = /\.(?:scale_input|input_scale|comfy_quant)$/;
const SCALE = /^(.+)\.(?:scale_weight|weight_scale)$/;
/** Embeddings and biases are looked up, not multiplied with: the writers of scaled files leave them as they are. */
const TABLE = /(?:^|\.)(?:shared|\w*embed\w*|\w+_bias)\.weight$/;

/**
 * The weights that the tensors of a component's safetensors files are, by name. Reads the scales, which are numbers to a matrix.
 * Throws where a tensor is quantized in a way that cannot be read, or lacks its scale.
 */
export async function weightEntries(
  source: CheckpointSource,
  tensors: ReadonlyMap<string, PlacedTensor>,
): Promise<Map<string, WeightEntry>> {
  const entries = new Map<string, WeightEntry>();
  const scales = new Map<string, [name: string, tensor: PlacedTensor]>();
  for (const [name, tensor] of tensors) {
    const [, module, type] = /^(.+)\.(\w+)_qweight$/.exec(name) ?? [];
    const scaled = SCALE.exec(name)?.[1];
    if (module !== undefined && type !== undefined) {
      const weight = `${module}.weight`;
      if (entries.has(weight) || tensors.has(weight))
        throw checkpointError(source, tensor.file, `a weight must be there once, got ${weight} and ${name}; write the file again`);
      entries.set(weight, blocks(source, name, type, tensor));
    } else if (scaled !== undefined && tensors.has(`${scaled}.weight`)) scales.set(`${scaled}.weight`, [name, tensor]);
    else if (name !== MARKER && !BESIDE.test(name)) entries.set(name, { ...tensor, tensor: name, format: formatOf(tensor.dtype) });
  }
  const packed = [...entries].find(
    ([name, { dtype, shape }]) => /^[IU]8$/.test(dtype) && shape.length > 1 && name.endsWith(".weight") && !scales.has(name),
  );
  if (packed)
    throw checkpointError(
      source,
      packed[1].file,
      `${packed[0]}: a weight must be floats, fp8 or blocks of ggml, got ${packed[1].dtype} [${packed[1].shape.join(", ")}], ` +
        "quantized in a way that this engine cannot read; take the original weights, a GGUF, or an fp8 file",
    );
  const lone = [...entries].find(
    ([name, { format, shape }]) => format === "e4m3" && shape.length > 1 && !scales.has(name) && !TABLE.test(name),
  );
  if (lone && (tensors.has(MARKER) || scales.size > 0))
    throw checkpointError(
      source,
      lone[1].file,
      `${lone[0]}: an fp8 matrix of a scaled file must have its scale, got none, ` +
        `expected ${lone[0].replace(/weight$/, "scale_weight")} or ${lone[0]}_scale; download the file again`,
    );
  const read = await Promise.all(
    [...scales].map(async ([name, of]) => [name, await readScale(source, name, entries.get(name)!, of)] as const),
  );
  for (const [name, scale] of read) entries.set(name, { ...entries.get(name)!, scale });
  return entries;
}

/** Blocks of ggml that are stored as a matrix of bytes, [out, bytes of a row]. */
function blocks(source: CheckpointSource, name: string, type: string, tensor: PlacedTensor): WeightEntry {
  const fail = (rule: string): CogwheelError => checkpointError(source, tensor.file, `${name}: ${rule}`);
  const format = formatOf(type);
  if (format === null || FORMATS[format].values === 1)
    throw fail(`quantized weights must be of the types ${QUANTIZED.join(", ")}, got ${type}; take a file of one of these`);
  const { values, bytes } = FORMATS[format];
  const [rows, rowBytes, ...rest] = tensor.shape;
  if (tensor.dtype !== "U8" || rows === undefined || rowBytes === undefined || rest.length)
    throw fail(`${type} blocks must be a matrix of bytes (U8), got ${tensor.dtype} [${tensor.shape.join(", ")}]; write the file again`);
  if (rowBytes % bytes)
    throw fail(
      `a row must be whole ${type} blocks of ${bytes} bytes, got rows of ${rowBytes} bytes; the file is damaged, download it again`,
    );
  return { ...tensor, tensor: name, dtype: type, format, shape: [rows, (rowBytes / bytes) * values] };
}

/** The scale of a matrix: one number, or one a row. */
async function readScale(
  source: CheckpointSource,
  weight: string,
  { dtype, format, shape, file }: WeightEntry,
  [name, { file: at, ...tensor }]: [string, PlacedTensor],
): Promise<Float32Array> {
  const fail = (where: string, rule: string): CogwheelError => checkpointError(source, where, rule);
  if (format !== "e4m3")
    throw fail(
      file,
      `${weight}: a weight with a scale (${name}) must be fp8 (F8_E4M3), got ${dtype}, ` +
        "which is quantized in a way that this engine cannot read; take the fp8 file, a GGUF, or the original weights",
    );
  const [rows = 1] = shape;
  const length = tensor.shape.reduce((a, b) => a * b, 1);
  const float = ["F32", "F16", "BF16"].includes(tensor.dtype);
  if (!float || !isSafetensorsDType(tensor.dtype) || (length !== 1 && (length !== rows || tensor.shape[0] !== rows)))
    throw fail(
      at,
      `${name}: a scale must be one float, or one for each of the ${rows} rows of ${weight}, ` +
        `got ${tensor.dtype} [${tensor.shape.join(", ")}]; download the file again`,
    );
  const { bytes } = await readTensor(source, at, name, tensor as TensorInfo);
  const scale = toFloat32(bytes, tensor.dtype);
  const bad = scale.findIndex((v) => !Number.isFinite(v));
  if (bad >= 0) throw fail(at, `${name}: a scale must be a finite number, got ${scale[bad]} for row ${bad}; download the file again`);
  return scale;
}
