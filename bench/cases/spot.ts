/**
 * A result is checked by its definition, in float64, at places chosen by a seed: as many as can be afforded, in the reference's
 * layout. A kernel whose spots are wrong is not timed, whether or not a peer is there to disagree.
 */
import { draw, type BenchCase } from "./case.ts";
import type { AdaLnSizes, AttentionSizes, ConvSizes, GroupNormSizes, MatmulSizes } from "./figures.ts";

/** Where in the result, and what must stand there. */
type Spots = Iterable<readonly [index: number, want: number]>;

const SPOTS = 96;

/** Whole numbers below n, repeatable. */
function dice(): (n: number) => number {
  const drawn = draw({ shape: [4096], seed: 99 });
  let at = 0;
  return (n) => Math.min(n - 1, Math.floor(((drawn[at++ % drawn.length]! + 1) / 2) * n));
}

/** The first and the last place, where tails are wrong first, then any. */
function places(n: number): number[] {
  const roll = dice();
  return [0, n - 1, ...Array.from({ length: SPOTS - 2 }, () => roll(n))];
}

function* matmul({ sizes: { m, n, k }, inputs, weights }: BenchCase<"matmul", MatmulSizes>): Spots {
  const [x, w] = [draw(inputs["x"]!), draw(weights["w"]!)];
  for (const i of places(m * n)) {
    let sum = 0;
    for (let j = 0; j < k; j++) sum += x[Math.floor(i / n) * k + j]! * w[(i % n) * k + j]!;
    yield [i, sum];
  }
}

function* matmulNn({ sizes: { m, n, k }, inputs, weights }: BenchCase<"matmul_nn", MatmulSizes>): Spots {
  const [x, w] = [draw(inputs["x"]!), draw(weights["w"]!)];
  for (const i of places(m * k)) {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += x[Math.floor(i / k) * n + j]! * w[j * k + (i % k)]!;
    yield [i, sum];
  }
}

function* matmulTn({ sizes: { m, n, k }, inputs }: BenchCase<"matmul_tn", MatmulSizes>): Spots {
  const [a, b] = [draw(inputs["a"]!), draw(inputs["b"]!)];
  for (const i of places(n * k)) {
    let sum = 0;
    for (let t = 0; t < m; t++) sum += a[t * n + Math.floor(i / k)]! * b[t * k + (i % k)]!;
    yield [i, sum];
  }
}

function* attention({ sizes: { heads, length, width }, inputs }: BenchCase<"attention", AttentionSizes>): Spots {
  const [q, k, v] = [draw(inputs["q"]!), draw(inputs["k"]!), draw(inputs["v"]!)];
  for (const i of places(length * heads * width)) {
    const [row, head, column] = [Math.floor(i / (heads * width)), Math.floor(i / width) % heads, i % width];
    const at = (r: number) => (head * length + r) * width;
    const scores = Float64Array.from({ length }, (_, r) => {
      let dot = 0;
      for (let j = 0; j < width; j++) dot += q[at(row) + j]! * k[at(r) + j]!;
      return dot / Math.sqrt(width);
    });
    const most = scores.reduce((a, b) => Math.max(a, b));
    let [sum, total] = [0, 0];
    scores.forEach((s, r) => {
      const e = Math.exp(s - most);
      total += e;
      sum += e * v[at(r) + column]!;
    });
    yield [i, sum / total];
  }
}

function* conv3d({ sizes: s, inputs, weights, output }: BenchCase<"conv3d", ConvSizes>): Spots {
  const [x, w, b] = [draw(inputs["x"]!), draw(weights["w"]!), draw(weights["b"]!)];
  const plane = s.height * s.width;
  for (const i of places(output.reduce((a, n) => a * n, 1))) {
    const [column, row, frame, out] = [
      i % s.width,
      Math.floor(i / s.width) % s.height,
      Math.floor(i / plane) % s.frames,
      Math.floor(i / plane / s.frames),
    ];
    let sum = b[out]!;
    for (let c = 0; c < s.cin; c++)
      for (let kt = 0; kt < s.taps; kt++)
        for (let kh = 0; kh < 3; kh++)
          for (let kw = 0; kw < 3; kw++) {
            const [t, h, l] = [Math.max(0, frame + kt - (s.taps - 1)), row + kh - 1, column + kw - 1];
            if (h < 0 || h >= s.height || l < 0 || l >= s.width) continue;
            sum += x[(c * s.frames + t) * plane + h * s.width + l]! * w[(((out * s.cin + c) * s.taps + kt) * 3 + kh) * 3 + kw]!;
          }
    yield [i, sum];
  }
}

/** Where tap (kt, kh, kw) of a position of y looks in x [C, T, H, W] without its channel; undefined past the borders. */
function looksAt(s: ConvSizes, [t, h, w]: readonly number[], tap: number): number | undefined {
  const [kt, kh, kw] = [Math.floor(tap / 9), Math.floor(tap / 3) % 3, tap % 3];
  const [row, column] = [h! + kh - 1, w! + kw - 1];
  if (row < 0 || row >= s.height || column < 0 || column >= s.width) return undefined;
  return (Math.max(0, t! + kt - (s.taps - 1)) * s.height + row) * s.width + column;
}

function* conv3dGradientX({ sizes: s, inputs, weights, output }: BenchCase<"conv3d_gradient_x", ConvSizes>): Spots {
  const [dy, w] = [draw(inputs["dy"]!), draw(weights["w"]!)];
  const plane = s.height * s.width;
  const all = s.frames * plane;
  for (const i of places(output.reduce((a, n) => a * n, 1))) {
    const [channel, at] = [Math.floor(i / all), i % all];
    const [row, column] = [Math.floor(at / s.width) % s.height, at % s.width];
    let sum = 0;
    for (let t = 0; t < s.frames; t++)
      for (let h = Math.max(0, row - 1); h <= Math.min(row + 1, s.height - 1); h++)
        for (let l = Math.max(0, column - 1); l <= Math.min(column + 1, s.width - 1); l++)
          for (let tap = 0; tap < 9 * s.taps; tap++) {
            if (looksAt(s, [t, h, l], tap) !== at) continue;
            for (let n = 0; n < s.cout; n++)
              sum += dy[n * all + t * plane + h * s.width + l]! * w[(n * s.cin + channel) * 9 * s.taps + tap]!;
          }
    yield [i, sum];
  }
}

function* conv3dGradientW({ sizes: s, inputs, output }: BenchCase<"conv3d_gradient_w", ConvSizes>): Spots {
  const [x, dy] = [draw(inputs["x"]!), draw(inputs["dy"]!)];
  const all = s.frames * s.height * s.width;
  for (const i of places(output.reduce((a, n) => a * n, 1))) {
    const tap = i % (9 * s.taps);
    const [n, channel] = [Math.floor(i / (9 * s.taps * s.cin)), Math.floor(i / (9 * s.taps)) % s.cin];
    let sum = 0;
    for (let p = 0; p < all; p++) {
      const place = [Math.floor(p / s.height / s.width), Math.floor(p / s.width) % s.height, p % s.width];
      const at = looksAt(s, place, tap);
      if (at !== undefined) sum += dy[n * all + p]! * x[channel * all + at]!;
    }
    yield [i, sum];
  }
}

function moments(values: readonly number[]): { mean: number; rstd(eps: number): number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
  return { mean, rstd: (eps) => 1 / Math.sqrt(variance + eps) };
}

function* adaLn({ sizes: { rows, width }, inputs, weights }: BenchCase<"adaln", AdaLnSizes>): Spots {
  const [x, shift, scale] = ["x", "shift", "scale"].map((name) => draw(inputs[name]!)) as [Float32Array, Float32Array, Float32Array];
  const [weight, bias] = [draw(weights["weight"]!), draw(weights["bias"]!)];
  for (const i of places(rows * width)) {
    const [row, j] = [Math.floor(i / width), i % width];
    const { mean, rstd } = moments([...x.subarray(row * width, (row + 1) * width)]);
    yield [i, ((x[i]! - mean) * rstd(1e-5) * weight[j]! + bias[j]!) * (1 + scale[j]!) + shift[j]!];
  }
}

function* groupNorm({ sizes: s, inputs, weights }: BenchCase<"group_norm", GroupNormSizes>): Spots {
  const [x, weight, bias] = [draw(inputs["x"]!), draw(weights["weight"]!), draw(weights["bias"]!)];
  const positions = s.frames * s.height * s.width;
  const span = (positions * s.channels) / s.groups;
  const groups = Array.from({ length: s.groups }, (_, g) => moments([...x.subarray(g * span, (g + 1) * span)]));
  for (const i of places(x.length)) {
    const c = Math.floor(i / positions);
    const { mean, rstd } = groups[Math.floor(i / span)]!;
    const v = (x[i]! - mean) * rstd(1e-6) * weight[c]! + bias[c]!;
    yield [i, v / (1 + Math.exp(-v))];
  }
}

const spots: Readonly<Record<string, (c: BenchCase<any, any>) => Spots>> = {
  matmul,
  matmul_nn: matmulNn,
  matmul_tn: matmulTn,
  attention,
  conv3d,
  conv3d_gradient_x: conv3dGradientX,
  conv3d_gradient_w: conv3dGradientW,
  adaln: adaLn,
  group_norm: groupNorm,
};

/** Relative L2 over the spots; undefined for kinds of case that are too large to be checked so. */
export function spotError(c: BenchCase, result: Float32Array): number | undefined {
  const of = spots[c.kind];
  if (!of) return undefined;
  let [error, norm] = [0, 0];
  for (const [index, want] of of(c)) {
    error += (result[index]! - want) ** 2;
    norm += want ** 2;
  }
  return Math.sqrt(error / norm);
}
