/** conv3d: kernels, strides, borders, caches and upsampling of the VAE and beyond, every tile, the VAE's own widths. */
import { conv3dOctet, conv3dQuad, conv3dQuadRow, conv3dSubgroupMatrix, conv3dTiled, packOperand } from "#kernels";
import type { Capabilities } from "../../../gpu/capabilities.ts";
import { padTo } from "../../../graph/packing.ts";
import { conv3d, conv3dCandidates, upsampledFrames, type Conv3dOptions, type ConvAttrs } from "../../../ops/conv3d.ts";
import { silu } from "../activations.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { padChannels, type Precision, type Values } from "../draw.ts";
import { cpuKernel, eightLanes, fewerLanes, matrixKernel, oneKernel, tiledKernel } from "../listed-kernels.ts";

export interface ConvSizes {
  /** B, T, H, W, Cin */
  readonly x: readonly [number, number, number, number, number];
  /** Cout, kt, kh, kw */
  readonly w: readonly [number, number, number, number];
  readonly stride?: readonly [number, number, number];
  readonly dilation?: number;
  readonly pad?: readonly [number, number, number, number];
  readonly replicate?: boolean;
  /** Frames before and after x. Default: kt − 1 and 0. */
  readonly padFrames?: readonly [number, number];
  /** They hold zeros. */
  readonly zeroFrames?: boolean;
  readonly upsample?: "space" | "space-time";
  readonly keepFirst?: boolean;
  readonly cached?: boolean;
  readonly silu?: boolean;
  /** w is an input: it is packed before the convolution. */
  readonly given?: boolean;
}

/** [B, T', H', W', Cout] */
export function outputShape({
  x: [B, T, H, W],
  w: [N, kt, kh, kw],
  stride = [1, 1, 1],
  dilation = 1,
  padFrames = [kt - 1, 0],
  upsample,
  keepFirst,
  pad = [(kh - 1) >> 1, (kh - 1) >> 1, (kw - 1) >> 1, (kw - 1) >> 1],
}: ConvSizes): number[] {
  const up = upsample ? 2 : 1;
  const frames = upsample === "space-time" ? upsampledFrames(T, keepFirst) : T;
  return [
    B,
    Math.floor((frames + padFrames[0] + padFrames[1] - dilation * (kt - 1) - 1) / stride[0]) + 1,
    Math.floor((H * up + pad[0] + pad[1] - kh) / stride[1]) + 1,
    Math.floor((W * up + pad[2] + pad[3] - kw) / stride[2]) + 1,
    N,
  ];
}

/** Of the convolution, as its gradients are given them. */
export function attrsOf({ w: [, kt, kh, kw], ...c }: ConvSizes): ConvAttrs {
  const around = [(kh - 1) >> 1, (kw - 1) >> 1] as const;
  return {
    stride: c.stride ?? [1, 1, 1],
    dilation: c.dilation ?? 1,
    pad: c.pad ?? [around[0], around[0], around[1], around[1]],
    replicate: c.replicate ?? false,
    padFrames: c.padFrames ?? [kt - 1, 0],
    zeroFrames: c.zeroFrames ?? false,
    upsample: c.upsample ?? null,
    keepFirst: c.keepFirst ?? true,
    activation: null,
    dtype: "f32",
  };
}

/** Of the weight: a kernel of rows and columns alone has no axis of time. */
export const weightShape = ({ x: [, , , , C], w: [N, kt, kh, kw] }: ConvSizes): number[] =>
  kt === 1 && kh > 1 ? [N, C, kh, kw] : [N, C, kt, kh, kw];

/** Where a tap of an output position looks: values of x or of the cache from `at` on, one a channel; zeros where it looks at neither. */
export interface Tap {
  /** Output position, and the tap's number in the kernel. */
  readonly position: number;
  readonly tap: number;
  readonly source: "x" | "cache" | null;
  readonly at: number;
}

/** By the definition: every tap of every output position, in order. */
export function* tapsOf(c: ConvSizes): Generator<Tap> {
  const [, T, H, W, C] = c.x;
  const [, kt, kh, kw] = c.w;
  const [st, sh, sw] = c.stride ?? [1, 1, 1];
  const [top, , left] = c.pad ?? [(kh - 1) >> 1, 0, (kw - 1) >> 1, 0];
  const d = c.dilation ?? 1;
  const up = c.upsample ? 2 : 1;
  const [before] = c.padFrames ?? [kt - 1];
  const frames = c.upsample === "space-time" ? upsampledFrames(T, c.keepFirst) : T;
  const frameOf = (t: number): number => (frames === T ? t : frames % 2 ? (t + 1) >> 1 : t >> 1);
  const clamp = (v: number, size: number): number => Math.min(Math.max(v, 0), size - 1);
  const shape = outputShape(c);
  let position = 0;
  for (let b = 0; b < shape[0]!; b++)
    for (let t = 0; t < shape[1]!; t++)
      for (let h = 0; h < shape[2]!; h++)
        for (let v = 0; v < shape[3]!; v++, position++) {
          let tap = 0;
          for (let a = 0; a < kt; a++)
            for (let e = 0; e < kh; e++)
              for (let f = 0; f < kw; f++, tap++) {
                const frame = t * st + a * d - before;
                let [row, column] = [h * sh + e - top, v * sw + f - left];
                if (c.replicate) [row, column] = [clamp(row, H * up), clamp(column, W * up)];
                const real = !c.zeroFrames || ((frame >= 0 || c.cached) && frame < frames);
                const inside = real && row >= 0 && column >= 0 && row < H * up && column < W * up;
                // Before the first frame lies the cache, or the first frame again.
                const cached = frame < 0 && c.cached;
                const from = cached ? b * before + frame + before : b * T + frameOf(clamp(frame, frames));
                const at = ((from * H + Math.floor(row / up)) * W + Math.floor(column / up)) * C;
                yield { position, tap, source: inside ? (cached ? "cache" : "x") : null, at };
              }
        }
}

/** The inputs under the taps of one position are gathered, then multiplied with every channel's weights. */
export function conv3dReference(c: ConvSizes, { x, w, bias, cache, residual }: Values): Float64Array {
  const C = c.x[4];
  const [N, kt, kh, kw] = c.w;
  const taps = kt * kh * kw;
  const y = new Float64Array(outputShape(c).reduce((a, b) => a * b));
  const patch = new Float64Array(C * taps);
  for (const { position, tap, source, at } of tapsOf({ ...c, cached: cache !== undefined })) {
    const values = source === "cache" ? cache! : x!;
    for (let i = 0; i < C; i++) patch[i * taps + tap] = source ? values[at + i]! : 0;
    if (tap < taps - 1) continue;
    for (let n = 0; n < N; n++) {
      let sum = bias![n]!;
      for (let i = 0; i < C * taps; i++) sum += w![n * C * taps + i]! * patch[i]!;
      const o = position * N + n;
      if (residual) sum += residual[o]!;
      y[o] = c.silu ? silu(sum) : sum;
    }
  }
  return padChannels(y, N);
}

/** Those with three taps a row at stride 1. */
const rowCases = new WeakSet<OpCase>();
const sizesOf = new WeakMap<OpCase, ConvSizes>();

function one(
  size: Size,
  title: string,
  c: ConvSizes,
  { half = "xwy", ...rest }: Partial<Omit<OpCase, "half">> & { half?: string; residual?: boolean } = {},
): OpCase {
  const [B, , H, W, C] = c.x;
  const [N, kt, kh, kw] = c.w;
  const { residual, ...fields } = rest;
  const made: OpCase = {
    size,
    name: `${title}, ${C} to ${N} channels${residual ? ", on a residual" : ""}${c.given ? ", w an input" : ""} (${half})`,
    ...fields,
    half: [...half, ...(half.includes("x") ? ["cache"] : [])],
    record(draw) {
      const options: Conv3dOptions = { bias: draw.vector("bias", [N]), dtype: draw.type("y") };
      if (c.stride) options.stride = c.stride;
      if (c.dilation) options.dilation = c.dilation;
      if (c.pad) options.pad = c.pad;
      if (c.replicate) options.padMode = "replicate";
      if (c.padFrames) options.padFrames = c.padFrames;
      if (c.zeroFrames) options.padFramesMode = "zeros";
      if (c.upsample) options.upsample = c.upsample;
      if (c.keepFirst === false) options.keepFirst = false;
      if (c.silu) options.activation = "silu";
      if (c.cached) options.cache = draw.video("cache", [B, (c.padFrames ?? [kt - 1])[0], H, W, C]);
      if (residual) options.residual = draw.video("residual", outputShape(c), { dtype: "f32" });
      const shape = weightShape(c);
      const scale = (C * kt * kh * kw) ** -0.5;
      return { y: conv3d(draw.video("x", c.x), c.given ? draw.input("w", shape, { scale }) : draw.weight("w", shape, { scale }), options) };
    },
    reference: (values) => ({ y: conv3dReference(c, values) }),
  };
  if (kw === 3 && (c.stride?.[2] ?? 1) === 1) rowCases.add(made);
  sizesOf.set(made, c);
  return made;
}

/** The op's own rule, of the whole of y; with limits y is computed in parts, which may be too small for a tile of matrices. */
function takesMatrices(c: OpCase, caps: Capabilities, precision: Precision): boolean {
  const sizes = sizesOf.get(c)!;
  if (c.limits || sizes.cached || sizes.zeroFrames) return false;
  const [B, T, H, W] = outputShape(sizes) as [number, number, number, number];
  const half = precision === "f16" && ["x", "w"].every((name) => c.half!.includes(name));
  const shape = {
    m: B * T * H * W,
    n: padTo(sizes.w[0], 4),
    cin: padTo(sizes.x[4], 4),
    kw: sizes.w[3],
    stride: sizes.stride?.[2] ?? 1,
    half,
  };
  return conv3dCandidates({ ...caps, kind: "hardware" }, shape).some((v) => v.name === "subgroup_matrix");
}

/** Each of x, w and y in f16, and the mixes that models have. */
const mixes = ["xwy", "xw", "x", "w"];
export const conv3dCases: OpCases = {
  op: "conv3d",
  kernels: [
    cpuKernel(conv3dOctet, { needs: eightLanes }),
    cpuKernel(conv3dQuad, { needs: fewerLanes, takes: (c) => !rowCases.has(c) }),
    cpuKernel(conv3dQuadRow, { needs: fewerLanes, takes: (c) => rowCases.has(c) }),
    matrixKernel(conv3dSubgroupMatrix, { takes: (c, caps, precision) => takesMatrices(c, caps, precision) }),
    tiledKernel(conv3dTiled),
    ...oneKernel(packOperand).map((choice) => ({ ...choice, takes: (c: OpCase) => sizesOf.get(c)!.given === true })),
  ],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    one("tiny", "1×1×1 of one position", { x: [1, 1, 1, 1, 1], w: [1, 1, 1, 1] }),
    one("tiny", "3×3×3 of one position", { x: [1, 1, 1, 1, 4], w: [4, 3, 3, 3] }),
    one("odd", "3×3×3", { x: [2, 3, 5, 7, 5], w: [7, 3, 3, 3], silu: true }, { residual: true }),
    one("odd", "3×3×3 of one frame", { x: [1, 1, 4, 5, 4], w: [20, 3, 3, 3], silu: true }),
    one("odd", "3×3×3 on a cache", { x: [2, 3, 4, 5, 5], w: [18, 3, 3, 3], cached: true, silu: true }, { residual: true }),
    one("odd", "3×3×3 of one frame on a cache", { x: [1, 1, 6, 3, 4], w: [3, 3, 3, 3], cached: true }),
    one("odd", "1×1×1", { x: [1, 2, 3, 5, 10], w: [13, 1, 1, 1] }),
    one("tiny", "1×1×1 of one position", { x: [1, 1, 1, 1, 1], w: [1, 1, 1, 1], given: true }),
    one("odd", "3×3×3", { x: [2, 3, 5, 7, 5], w: [7, 3, 3, 3], silu: true, given: true }, { residual: true }),
    one("odd", "3×3×3", { x: [1, 2, 4, 5, 16], w: [37, 3, 3, 3], given: true }, { half: "xw" }),
    one("odd", "2-D", { x: [1, 2, 6, 10, 24], w: [21, 1, 3, 3], given: true }, { half: "w" }),
    one("odd", "2-D, stride 2, padded right and below", { x: [1, 3, 6, 10, 8], w: [8, 1, 3, 3], stride: [1, 2, 2], pad: [0, 1, 0, 1] }),
    ...mixes
      .slice(1)
      .map((half) =>
        one("odd", "2-D, stride 2", { x: [1, 2, 6, 10, 32], w: [36, 1, 3, 3], stride: [1, 2, 2], pad: [0, 1, 0, 1] }, { half }),
      ),
    one("odd", "2-D on rows and columns doubled", { x: [2, 3, 3, 5, 4], w: [6, 1, 3, 3], upsample: "space" }),
    one("odd", "2-D on all doubled, 3 frames", { x: [1, 3, 2, 5, 4], w: [4, 1, 3, 3], upsample: "space-time" }),
    one("odd", "2-D on all doubled, 2 frames", { x: [1, 2, 3, 3, 4], w: [4, 1, 3, 3], upsample: "space-time" }),
    one("odd", "2-D on all doubled, 1 frame", { x: [1, 1, 3, 3, 4], w: [4, 1, 3, 3], upsample: "space-time" }),
    one("odd", "strides everywhere", { x: [1, 5, 7, 6, 4], w: [5, 3, 3, 3], stride: [2, 2, 3] }),
    one("odd", "dilated in time", { x: [1, 6, 3, 4, 4], w: [4, 3, 3, 3], dilation: 2, cached: true }),
    one("odd", "2-D on all doubled, every one of 3 frames", {
      x: [1, 3, 2, 5, 4],
      w: [4, 1, 3, 3],
      upsample: "space-time",
      keepFirst: false,
    }),
    one(
      "odd",
      "3×3×3, zeros before the first frame",
      { x: [2, 3, 4, 5, 5], w: [7, 3, 3, 3], zeroFrames: true, silu: true },
      { residual: true },
    ),
    one("odd", "3×3×3 centred in time, zeros around", { x: [2, 4, 3, 5, 4], w: [6, 3, 3, 3], padFrames: [1, 1], zeroFrames: true }),
    one("odd", "3×3×3 centred in time, of one frame", { x: [1, 1, 3, 5, 4], w: [6, 3, 3, 3], padFrames: [1, 1], zeroFrames: true }),
    one("odd", "5×3×3 centred in time, every other frame", {
      x: [1, 5, 3, 4, 4],
      w: [5, 5, 3, 3],
      padFrames: [2, 2],
      zeroFrames: true,
      stride: [2, 1, 1],
    }),
    one("odd", "3×3×3 on a cache, zeros after the last frame", {
      x: [1, 3, 3, 4, 4],
      w: [5, 3, 3, 3],
      padFrames: [1, 1],
      zeroFrames: true,
      cached: true,
    }),
    one("odd", "3×3×3, no frame padded", { x: [1, 5, 3, 4, 4], w: [5, 3, 3, 3], padFrames: [0, 0] }),
    one("odd", "replicated borders", { x: [1, 2, 4, 3, 4], w: [4, 3, 3, 3], replicate: true }),
    one("odd", "5×3×5, more frames under the kernel than in x", { x: [1, 2, 5, 6, 4], w: [4, 5, 3, 5], cached: true }),
    // Every tile: channels for BN of 16, 32, 64; inputs for BK of 4, 8, 16; positions for BM of 32 and 64.
    ...[12, 20, 67].flatMap((n) =>
      [4, 24, 32].flatMap((cin) =>
        [3, 5].map((rows) => one("odd", `3×3×3, ${9 * rows} positions`, { x: [1, 1, rows, 9, cin], w: [n, 3, 3, 3] })),
      ),
    ),
    // What models store in which type, at the tiles that they take it with.
    ...mixes
      .slice(1)
      .flatMap((half) =>
        [12, 20, 67].flatMap((n) =>
          [3, 5].map((rows) => one("odd", `3×3×3, ${9 * rows} positions`, { x: [1, 1, rows, 9, 32], w: [n, 3, 3, 3] }, { half })),
        ),
      ),
    ...["w", "x"].flatMap((half) =>
      [3, 5].map((rows) => one("odd", `3×3×3, ${9 * rows} positions`, { x: [1, 1, rows, 9, 3], w: [67, 3, 3, 3] }, { half })),
    ),
    // A frame of x has 9216 bytes and the packed weight 6912: bindings of three frames, and of less than one.
    ...[29 * 1024, 7168].flatMap((maxBindingBytes) =>
      [false, true].map((cached) =>
        one(
          "odd",
          `3×3×3 in windows of ${maxBindingBytes} bytes${cached ? " on a cache" : ""}`,
          { x: [2, 4, 24, 24, 4], w: [4, 3, 3, 3], cached, silu: true },
          { residual: true, limits: { maxBindingBytes, maxGrid: 40 } },
        ),
      ),
    ),
    one(
      "odd",
      "2-D on all doubled in windows of rows",
      { x: [1, 3, 10, 16, 4], w: [4, 1, 3, 3], upsample: "space-time" },
      { limits: { maxBindingBytes: 2560 } },
    ),
    // The decoder's and encoder's widths; the largest tile, of a thousand positions and more, on the fewest multiplications.
    one("model", "3×3×3", { x: [1, 2, 4, 6, 512], w: [512, 3, 3, 3] }, { half: "xw", residual: true }),
    one("model", "3×3×3", { x: [1, 2, 6, 8, 256], w: [128, 3, 3, 3] }, { half: "xw" }),
    one("model", "3×3×3", { x: [1, 2, 8, 8, 128], w: [3, 3, 3, 3] }, { half: "xw" }),
    one("model", "3×3×3", { x: [1, 2, 4, 6, 16], w: [512, 3, 3, 3] }, { half: "w" }),
    one("model", "2-D, stride 2", { x: [1, 2, 9, 9, 128], w: [128, 1, 3, 3], stride: [1, 2, 2], pad: [0, 1, 0, 1] }, { half: "w" }),
    one("model", "1×1×1", { x: [1, 2, 8, 8, 512], w: [256, 1, 1, 1] }, { half: "w" }),
    ...mixes.flatMap((half) =>
      [
        [128, 128],
        [193, 132],
        [1024, 16],
      ].map(([rows, n]) => one("model", `1×1×1, ${64 * rows!} positions`, { x: [1, 1, rows!, 64, 16], w: [n!, 1, 1, 1] }, { half })),
    ),
    ...["w"].map((half) => one("model", "3×3×3, 8192 positions", { x: [1, 1, 64, 128, 3], w: [128, 3, 3, 3] }, { half })),
  ],
};
