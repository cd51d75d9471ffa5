/**
 * What converting to f16 loses is counted, and `fitsF16` decides from that whether the tensor is kept in f32. A tensor may be looked at
 * piece by piece; `mergeReports` adds the pieces up.
 */
import { bf16Halves, bf16ToNumber, f16Values } from "../base/half.ts";
import { CHUNK, elementsIn, toFloat32, view } from "./convert.ts";
import { DTYPE_BYTES } from "./safetensors-dtype.ts";
import type { SafetensorsDType } from "./safetensors-dtype.ts";

/** What converting a tensor, or several pieces of it, to f16 lost. */
export interface ConversionReport {
  /** Elements converted. */
  count: number;
  /** Finite values that became infinite: above 65504, by more than rounding. */
  overflow: number;
  /** Values other than zero that became zero: below about 3e-8. */
  underflow: number;
  /** Infinities and NaN in the source; they stay what they are. */
  nonFinite: number;
  /** ‖converted − source‖₂ / ‖source‖₂ over the finite values; 0 for all zero, infinite after an overflow. */
  relativeError: number;
  /** The sums behind `relativeError`, for merging. */
  squaredError: number;
  squaredNorm: number;
}

/**
 * The largest relative L2 loss with which a tensor is still stored in f16: one rounding of its 11 bits. No rounding
 * of normal numbers reaches it, so more means that a real share of the tensor lies in f16's subnormals or below.
 */
export const F16_LOSS_LIMIT = 2 ** -11;

/**
 * Whether a tensor may be stored in f16. Any overflow says no: one infinite weight makes a black video. Underflow is
 * counted, to be named, but says no only above {@link F16_LOSS_LIMIT}: matrices that were trained in bf16 hold a
 * few values under 6e-8, beside ones of 1e-2, that cannot matter, and keeping every such matrix in f32 would double the
 * memory for nothing.
 */
export function fitsF16({
  overflow,
  squaredError,
  squaredNorm,
}: Pick<ConversionReport, "overflow" | "squaredError" | "squaredNorm">): boolean {
  return overflow === 0 && squaredError <= F16_LOSS_LIMIT ** 2 * squaredNorm;
}

/** The report of pieces of one tensor taken together. */
export function mergeReports(reports: Iterable<ConversionReport>): ConversionReport {
  const sum = { count: 0, overflow: 0, underflow: 0, nonFinite: 0, squaredError: 0, squaredNorm: 0 };
  for (const report of reports) {
    sum.count += report.count;
    sum.overflow += report.overflow;
    sum.underflow += report.underflow;
    sum.nonFinite += report.nonFinite;
    sum.squaredError += report.squaredError;
    sum.squaredNorm += report.squaredNorm;
  }
  return withRelativeError(sum);
}

function withRelativeError(sum: Omit<ConversionReport, "relativeError">): ConversionReport {
  const ratio = sum.squaredNorm > 0 ? Math.sqrt(sum.squaredError / sum.squaredNorm) : 0;
  return { ...sum, relativeError: sum.overflow > 0 ? Infinity : ratio };
}

/** What `toFloat16` loses of these elements. F16 loses nothing, which needs no look at them: its NaN and infinities are not counted. */
export function float16Loss(bytes: Uint8Array, dtype: SafetensorsDType): ConversionReport {
  const count = elementsIn(bytes, dtype);
  if (dtype === "F16") return { ...NO_LOSS, count };
  if (dtype === "BF16") return bf16Loss(view(bytes, Uint16Array));
  if (dtype === "F32") return f32Loss(view(bytes, Float32Array));
  const size = DTYPE_BYTES[dtype];
  const reports: ConversionReport[] = [];
  for (let at = 0; at < count; at += CHUNK) reports.push(f32Loss(toFloat32(bytes.subarray(at * size, (at + CHUNK) * size), dtype)));
  return mergeReports(reports);
}

const NO_LOSS: ConversionReport = { count: 0, overflow: 0, underflow: 0, nonFinite: 0, relativeError: 0, squaredError: 0, squaredNorm: 0 };

/**
 * Nothing is rounded for it: adding and taking away a number so large that the sum's last bit is f16's leaves the rounded value
 * (Dekker 1971). Halves may go the other way than in `toFloat16`, with the same error.
 */
function f32Loss(source: Float32Array): ConversionReport {
  let [overflow, underflow, nonFinite, squaredError, squaredNorm] = [0, 0, 0, 0, 0];
  for (let i = 0; i < source.length; i++) {
    const from = source[i]!;
    const size = Math.abs(from);
    if (size < 65520) {
      // 11 of 53 bits are kept of normal numbers; f16's subnormals are multiples of 2^-24.
      const wide = from * 4398046511105;
      const to = size >= 2 ** -14 ? wide - (wide - from) : from + 402653184 - 402653184;
      if (to === 0 && from !== 0) underflow++;
      const error = to - from;
      squaredError += error * error;
      squaredNorm += from * from;
    } else if (from - from === 0) overflow++;
    else nonFinite++;
  }
  return withRelativeError({ count: source.length, overflow, underflow, nonFinite, squaredError, squaredNorm });
}

/** Every bf16 has one f16 and one loss, so the values are counted and the losses added up once a value. */
function bf16Loss(source: Uint16Array): ConversionReport {
  const halves = bf16Halves();
  const table = f16Values();
  const counts = new Uint32Array(65536);
  for (let i = 0; i < source.length; i++) counts[source[i]!]!++;
  const sum = { count: source.length, overflow: 0, underflow: 0, nonFinite: 0, squaredError: 0, squaredNorm: 0 };
  for (let brain = 0; brain < 65536; brain++) {
    const times = counts[brain]!;
    if (times === 0) continue;
    const [from, half] = [bf16ToNumber(brain), halves[brain]!];
    if ((half & 0x7c00) === 0x7c00) {
      if (from - from === 0) sum.overflow += times;
      else sum.nonFinite += times;
      continue;
    }
    if ((half & 0x7fff) === 0 && from !== 0) sum.underflow += times;
    const error = table[half]! - from;
    sum.squaredError += error * error * times;
    sum.squaredNorm += from * from * times;
  }
  return withRelativeError(sum);
}
