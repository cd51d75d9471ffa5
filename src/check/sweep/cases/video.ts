/** Layout and resampling of videos: channels_last, channels_first, pixels, causal_cache, nearest_upsample, temporal_pool. */
import {
  channelsFirst as firstKernel,
  channelsLast as lastKernel,
  copyVectors,
  nearestUpsample as upsampleKernel,
  pixels as pixelsKernel,
  temporalPool as poolKernel,
} from "#kernels";
import type { Kernel } from "../../../gpu/kernel.ts";
import { elements } from "../../../graph/dtype.ts";
import { causalCache } from "../../../ops/causal_cache.ts";
import { channelsFirst, channelsLast } from "../../../ops/channels.ts";
import { nearestUpsample } from "../../../ops/nearest_upsample.ts";
import { pixels } from "../../../ops/pixels.ts";
import { temporalPool } from "../../../ops/temporal_pool.ts";
import { drawn, oneKernel, padChannels, type OpCase, type OpCases, type Size, type Values } from "../case.ts";

type Five = readonly [number, number, number, number, number];
const title = (shape: readonly number[], limits?: OpCase["limits"]): string => `[${shape.join(", ")}]${limits ? ", in windows" : ""}`;
const limited = (limits?: OpCase["limits"]) => (limits ? { limits } : {});

// ---------------------------------------------------------------- channels_last, channels_first

export function channelsReference([B, C, T, H, W]: Five, { x }: Values): Float64Array {
  const plane = T * H * W;
  const out = new Float64Array(x!.length);
  for (let b = 0; b < B; b++)
    for (let c = 0; c < C; c++) for (let p = 0; p < plane; p++) out[(b * plane + p) * C + c] = x![(b * C + c) * plane + p]!;
  return padChannels(out, C);
}

function channels(size: Size, shape: Five, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: title(shape, limits),
    half: ["y"],
    ...limited(limits),
    record(draw) {
      // Multiples of 2^-8, which f16 holds: there and back again nothing may change.
      const x = draw.input("x", shape, { data: drawn(elements(shape), 1).map((v) => Math.round(v * 256) / 256) });
      const y = channelsLast(x, { dtype: draw.type("y") });
      return { y, back: channelsFirst(y, shape[1]) };
    },
    reference: (values) => ({ y: channelsReference(shape, values), back: values["x"]! }),
  };
}

export const channelsCases: OpCases = {
  op: "channels",
  kernels: [...oneKernel(lastKernel as Kernel), ...oneKernel(firstKernel as Kernel)],
  tolerance: { f32: 0, f16: 0 },
  cases: [
    channels("tiny", [1, 1, 1, 1, 1]),
    channels("odd", [1, 3, 2, 5, 7]),
    channels("odd", [2, 5, 1, 3, 3]),
    channels("odd", [2, 10, 2, 9, 5]),
    channels("odd", [1, 3, 4, 15, 25], { maxBindingBytes: 20 * 1024 }),
    channels("model", [1, 16, 3, 30, 45]),
  ],
};

// ---------------------------------------------------------------- pixels

/** clamp(x / 2 + 0.5) in float32, and bytes rounded to nearest, halves to even. */
export function pixelsReference(format: "frames" | "rgba", { x }: Values): ArrayLike<number> {
  const frames = x!.map((v) => Math.min(1, Math.max(0, Math.fround(Math.fround(v * 0.5) + 0.5))));
  if (format === "frames") return frames;
  const byte = (v: number): number => {
    const scaled = Math.fround(v * 255);
    const floor = Math.floor(scaled);
    return scaled - floor > 0.5 || (scaled - floor === 0.5 && floor % 2) ? floor + 1 : floor;
  };
  // The read-back widens u32 to f32, which keeps the upper 24 bits.
  return Array.from({ length: x!.length / 3 }, (_, p) =>
    Math.fround((byte(frames[3 * p]!) | (byte(frames[3 * p + 1]!) << 8) | (byte(frames[3 * p + 2]!) << 16) | (255 << 24)) >>> 0),
  );
}

/** Values in ±1.3, beyond what pixels have, with the exact halves of bytes among them. */
const beyond = (count: number): Float32Array => drawn(count, 1, 1.3).map((v, i) => (i < 255 ? (2 * (i + 0.5)) / 255 - 1 : v));

function pixel(size: Size, shape: readonly number[], format: "frames" | "rgba", limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `${title(shape, limits)} as ${format}`,
    half: ["x"],
    ...limited(limits),
    record: (draw) => ({ y: pixels(draw.video("x", [...shape, 3], { data: beyond(3 * elements(shape)) }), { format }) }),
    reference: (values) => ({ y: pixelsReference(format, values) }),
  };
}

export const pixelsCases: OpCases = {
  op: "pixels",
  kernels: oneKernel(pixelsKernel as Kernel),
  tolerance: { f32: 0, f16: 0 },
  cases: (["frames", "rgba"] as const).flatMap((format) => [
    pixel("tiny", [1, 1, 1, 1], format),
    pixel("odd", [1, 3, 17, 23], format),
    pixel("odd", [1, 3, 17, 23], format, { maxBindingBytes: 4096 }),
    pixel("model", [1, 2, 60, 90], format),
  ]),
};

// ---------------------------------------------------------------- causal_cache

export interface CacheSizes {
  readonly x: Five;
  readonly kept: number;
  readonly cached: boolean;
}

export function causalCacheReference({ x: [B, T, H, W, C], kept }: CacheSizes, { x, cache }: Values): Float64Array {
  const plane = H * W * C;
  const out = new Float64Array(B * kept * plane);
  for (let b = 0; b < B; b++)
    for (let i = 0; i < kept; i++) {
      const frame = T - kept + i;
      const [source, from] = frame >= 0 || !cache ? [x!, b * T + Math.max(frame, 0)] : [cache, b * kept + frame + kept];
      out.set(source.subarray(from * plane, (from + 1) * plane), (b * kept + i) * plane);
    }
  return out;
}

function cache(size: Size, sizes: CacheSizes, limits?: OpCase["limits"]): OpCase {
  const { x, kept, cached } = sizes;
  return {
    size,
    name: `${kept} frames of ${title(x, limits)}${cached ? " and a cache" : ""}`,
    ...limited(limits),
    record: (draw) => ({ y: causalCache(draw.input("x", x), kept, cached ? draw.input("cache", [x[0], kept, ...x.slice(2)]) : undefined) }),
    reference: (values) => ({ y: causalCacheReference(sizes, values) }),
  };
}

export const causalCacheCases: OpCases = {
  op: "causal_cache",
  kernels: oneKernel(copyVectors as Kernel),
  tolerance: { f32: 0, f16: 0 },
  cases: [
    cache("tiny", { x: [1, 1, 1, 1, 4], kept: 2, cached: false }),
    ...[1, 2, 3, 5].flatMap((frames) => [false, true].map((cached) => cache("odd", { x: [2, frames, 3, 5, 4], kept: 2, cached }))),
    cache("odd", { x: [2, 5, 3, 5, 4], kept: 2, cached: true }, { maxBindingBytes: 512 }),
    cache("model", { x: [1, 2, 12, 20, 512], kept: 2, cached: true }),
  ],
};

// ---------------------------------------------------------------- nearest_upsample

export interface UpsampleSizes {
  readonly x: Five;
  readonly time: boolean;
}

export function nearestUpsampleReference({ x: [B, T, H, W, C], time }: UpsampleSizes, { x }: Values): Float64Array {
  const frames = Array.from({ length: T }, (_, t) => (!time || T === 1 || (T % 2 && t === 0) ? [t] : [t, t])).flat();
  const out = new Float64Array(B * frames.length * 4 * H * W * C);
  let o = 0;
  for (let b = 0; b < B; b++)
    for (const t of frames)
      for (let h = 0; h < 2 * H; h++)
        for (let w = 0; w < 2 * W; w++, o += C) {
          const at = (((b * T + t) * H + (h >> 1)) * W + (w >> 1)) * C;
          out.set(x!.subarray(at, at + C), o);
        }
  return out;
}

function upsample(size: Size, sizes: UpsampleSizes, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `${title(sizes.x, limits)}${sizes.time ? ", in time too" : ""}`,
    ...limited(limits),
    record: (draw) => ({ y: nearestUpsample(draw.input("x", sizes.x), { time: sizes.time }) }),
    reference: (values) => ({ y: nearestUpsampleReference(sizes, values) }),
  };
}

export const nearestUpsampleCases: OpCases = {
  op: "nearest_upsample",
  kernels: oneKernel(upsampleKernel as Kernel),
  tolerance: { f32: 0, f16: 0 },
  cases: [
    upsample("tiny", { x: [1, 1, 1, 1, 4], time: true }),
    upsample("odd", { x: [2, 2, 3, 5, 4], time: false }),
    upsample("odd", { x: [2, 3, 3, 2, 8], time: true }),
    upsample("odd", { x: [1, 4, 2, 3, 12], time: true }),
    upsample("odd", { x: [1, 5, 9, 7, 4], time: true }, { maxBindingBytes: 1024 }),
    upsample("model", { x: [1, 3, 6, 10, 512], time: true }),
  ],
};

// ---------------------------------------------------------------- temporal_pool

export function temporalPoolReference([B, T, H, W, C]: Five, { x }: Values): Float64Array {
  const plane = H * W * C;
  const frames = Math.ceil(T / 2);
  const out = new Float64Array(B * frames * plane);
  for (let b = 0; b < B; b++)
    for (let t = 0; t < frames; t++)
      for (let i = 0; i < plane; i++) {
        const first = Math.max(0, 2 * t - (T % 2));
        const second = T % 2 && t === 0 ? 0 : first + 1;
        out[(b * frames + t) * plane + i] = (x![(b * T + first) * plane + i]! + x![(b * T + second) * plane + i]!) / 2;
      }
  return out;
}

function pool(size: Size, shape: Five, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: title(shape, limits),
    ...limited(limits),
    record: (draw) => ({ y: temporalPool(draw.input("x", shape)) }),
    reference: (values) => ({ y: temporalPoolReference(shape, values) }),
  };
}

export const temporalPoolCases: OpCases = {
  op: "temporal_pool",
  kernels: oneKernel(poolKernel as Kernel),
  tolerance: { f32: 1e-7, f16: 1e-3 },
  cases: [
    pool("tiny", [1, 1, 1, 1, 4]),
    pool("odd", [2, 2, 3, 2, 4]),
    pool("odd", [2, 5, 3, 5, 8]),
    pool("odd", [1, 8, 4, 6, 4]),
    pool("odd", [1, 3, 9, 8, 4], { maxBindingBytes: 2 * 9 * 8 * 16 + 1024 }),
    pool("model", [1, 8, 12, 20, 128]),
    pool("model", [1, 9, 12, 20, 128]),
  ],
};
