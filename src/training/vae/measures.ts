/** How near a reconstruction is to its clip: PSNR, SSIM, and how much a still flickers. In float64 on the host. */

/** [C, T, H, W] in −1…1, beyond which values are cut off as a picture would. */
export interface MeasuredClip {
  readonly frames: number;
  readonly height: number;
  readonly width: number;
}

const inRange = (value: number): number => Math.min(1, Math.max(-1, value));

/** Decibels over all values of a clip, of a peak of 2 in −1…1, which is the same as 1 in 0…1. Infinite where nothing differs. */
export function psnr(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (const [i, value] of a.entries()) sum += (inRange(value) - inRange(b[i]!)) ** 2;
  return 10 * Math.log10(4 / (sum / a.length));
}

/** Side and deviation of SSIM's window, and its constants. */
const [SIDE, SIGMA] = [11, 1.5];
const [C1, C2] = [(0.01 * 2) ** 2, (0.03 * 2) ** 2];
const WEIGHTS = (() => {
  const raw = Array.from({ length: SIDE }, (_, i) => Math.exp(-((i - (SIDE - 1) / 2) ** 2) / (2 * SIGMA ** 2)));
  const sum = raw.reduce((x, y) => x + y, 0);
  return raw.map((w) => w / sum);
})();

/**
 * The mean structural similarity of frames and channels (Wang et al. 2004): a Gaussian window of 11 × 11 and deviation 1.5, at every place
 * where it lies within the picture; smaller pictures have windows of their own side.
 */
export function ssim(a: Float32Array, b: Float32Array, { height, width }: MeasuredClip): number {
  const plane = height * width;
  let sum = 0;
  for (let at = 0; at < a.length; at += plane) sum += ssimOf(a.subarray(at, at + plane), b.subarray(at, at + plane), height, width);
  return sum / (a.length / plane);
}

function ssimOf(a: Float32Array, b: Float32Array, height: number, width: number): number {
  const [x, y] = [Float64Array.from(a, inRange), Float64Array.from(b, inRange)];
  const blurred = (of: (i: number) => number): Float64Array =>
    blur(
      Float64Array.from(x, (_, i) => of(i)),
      height,
      width,
    );
  const [mx, my] = [blurred((i) => x[i]!), blurred((i) => y[i]!)];
  const [xx, yy, xy] = [blurred((i) => x[i]! ** 2), blurred((i) => y[i]! ** 2), blurred((i) => x[i]! * y[i]!)];
  let sum = 0;
  for (let i = 0; i < mx.length; i++) {
    const [p, q] = [mx[i]!, my[i]!];
    const [vx, vy, cov] = [xx[i]! - p * p, yy[i]! - q * q, xy[i]! - p * q];
    sum += ((2 * p * q + C1) * (2 * cov + C2)) / ((p * p + q * q + C1) * (vx + vy + C2));
  }
  return sum / mx.length;
}

/** Weighted sums at every place where the window lies within [height, width]. */
function blur(values: Float64Array, height: number, width: number): Float64Array {
  const wide = along(values, height, width, 1, width);
  const across = width - Math.min(SIDE, width) + 1;
  return along(wide, across, height, across, 1);
}

/** Of `rows` lines of `length` values, each a `step` after the one before, the weighted sums; they are laid out as the lines were. */
function along(values: Float64Array, rows: number, length: number, step: number, stride: number): Float64Array {
  const side = Math.min(SIDE, length);
  const cut = WEIGHTS.slice((SIDE - side) >> 1, ((SIDE - side) >> 1) + side);
  const all = cut.reduce((p, q) => p + q, 0);
  const count = length - side + 1;
  const out = new Float64Array(rows * count);
  // Lines are rows (step 1) or columns (stride 1).
  const to = step === 1 ? count : 1;
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < count; i++) {
      let sum = 0;
      for (let k = 0; k < side; k++) sum += (cut[k]! / all) * values[row * stride + (i + k) * step]!;
      out[row * to + i * (step === 1 ? 1 : rows)] = sum;
    }
  return out;
}

/** The mean difference of a pixel from one frame to the next, in levels of 255: 0 for a still that stays one. */
export function flicker(a: Float32Array, { frames, height, width }: MeasuredClip): number {
  if (frames < 2) return 0;
  const plane = height * width;
  let sum = 0;
  let count = 0;
  for (let i = 0; i < a.length; i++) {
    if (Math.floor(i / plane) % frames === frames - 1) continue;
    sum += Math.abs(inRange(a[i + plane]!) - inRange(a[i]!));
    count++;
  }
  return (127.5 * sum) / count;
}
