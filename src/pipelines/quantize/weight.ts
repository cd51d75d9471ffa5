/** One weight on its way into a quantized file: its type there, and its bytes, with what they lose. */
import { CogwheelError } from "../../base/errors.ts";
import { toFloat16, toFloat32 } from "../../files/convert.ts";
import { fitsF16, float16Loss, mergeReports, type ConversionReport } from "../../files/float16-loss.ts";
import { BLOCK, dequantize, quantize, QUANTIZED_TYPES, type QuantizedType } from "../../files/quantize.ts";
import type { SafetensorsDType } from "../../files/safetensors-dtype.ts";
import { elements } from "../../graph/dtype.ts";
import { rowBytes, type Format, type StoredWeight } from "../../graph/stored.ts";

/** A type of a weight in the file. */
export type WrittenType = QuantizedType | "f16" | "bf16" | "f32";

/** Values that are worked on at once. */
const VALUES = 1 << 20;

/** Source types that are widened, by safetensors' names. */
const DTYPES: Readonly<Partial<Record<Format, SafetensorsDType>>> = { f32: "F32", f16: "F16", bf16: "BF16", e4m3: "F8_E4M3" };

/** Sums behind a relative L2 error. */
export interface ErrorSums {
  error: number;
  norm: number;
}

export const relativeError = ({ error, norm }: ErrorSums): number => (norm > 0 ? Math.sqrt(error / norm) : error > 0 ? Infinity : 0);

/** A weight's stored bytes, whole rows at a time. */
async function* pieces(stored: StoredWeight, signal?: AbortSignal): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { shape } = stored;
  const row = rowBytes(stored);
  const width = elements(shape.length > 1 ? shape.slice(1) : shape);
  const rows = elements(shape) / width;
  const step = Math.max(1, Math.floor(VALUES / width));
  for (let first = 0; first < rows; first += step) {
    signal?.throwIfAborted();
    const bytes = new Uint8Array(Math.min(step, rows - first) * row);
    await stored.read(first * row, bytes, signal);
    yield bytes;
  }
}

function dtypeOf({ format, label, scale }: StoredWeight): SafetensorsDType {
  const dtype = DTYPES[format];
  if (dtype === undefined || scale)
    throw new CogwheelError(
      "quantize",
      `${label}: weights that are quantized must be of floats, got ${format}${scale ? " with a scale" : ""}; quantize the original weights`,
    );
  return dtype;
}

/**
 * What a weight becomes: blocks where it is a matrix whose rows divide into them and that is not kept; vectors f32; others stay as they
 * are, but for f32, which becomes f16 where that holds it.
 */
export async function writtenType(
  stored: StoredWeight,
  { type, kept, signal }: { type: QuantizedType; kept: boolean; signal?: AbortSignal | undefined },
): Promise<WrittenType> {
  const { shape, format } = stored;
  const dtype = dtypeOf(stored);
  if (shape.length < 2) return "f32";
  if (!kept && shape.length === 2 && shape[1]! % BLOCK === 0) return type;
  if (format === "f16" || format === "bf16") return format;
  const reports: ConversionReport[] = [];
  for await (const bytes of pieces(stored, signal)) reports.push(float16Loss(bytes, dtype));
  return fitsF16(mergeReports(reports)) ? "f16" : "f32";
}

export const isQuantized = (type: WrittenType): type is QuantizedType => (QUANTIZED_TYPES as readonly string[]).includes(type);

/** A weight's bytes in its type; `sums` take what quantizing loses. */
export async function* writtenBytes(
  stored: StoredWeight,
  type: WrittenType,
  sums: ErrorSums,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const dtype = dtypeOf(stored);
  for await (const bytes of pieces(stored, signal)) {
    if (type === stored.format) yield bytes;
    else if (type === "f16") yield bytesOf(toFloat16(bytes, dtype));
    else if (!isQuantized(type)) yield bytesOf(toFloat32(bytes, dtype));
    else {
      const values = toFloat32(bytes, dtype);
      const blocks = quantize(values, type);
      addError(values, dequantize(blocks, type), sums);
      if (!Number.isFinite(sums.error + sums.norm))
        throw new CogwheelError(
          "quantize",
          `${stored.label}: a weight must be finite numbers that ${type} can scale, got NaN, infinity or values beyond it; ` +
            "keep it with --keep, or look where the weights come from",
        );
      yield blocks;
    }
  }
}

function addError(want: Float32Array, got: Float32Array, sums: ErrorSums): void {
  let [error, norm] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    const difference = got[i]! - want[i]!;
    error += difference * difference;
    norm += want[i]! * want[i]!;
  }
  sums.error += error;
  sums.norm += norm;
}

const bytesOf = (values: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>): Uint8Array<ArrayBuffer> =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
