/** causal_cache: fewer and more frames than are kept, with and without a cache before them, windows. */
import { copyVectors as kernel } from "#kernels";
import { causalCache } from "../../../ops/causal_cache.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

type Five = readonly [number, number, number, number, number];
const title = (shape: readonly number[], limits?: OpCase["limits"]): string => `[${shape.join(", ")}]${limits ? ", in windows" : ""}`;

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

function one(size: Size, sizes: CacheSizes, limits?: OpCase["limits"]): OpCase {
  const { x, kept, cached } = sizes;
  return {
    size,
    name: `${kept} frames of ${title(x, limits)}${cached ? " and a cache" : ""}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: causalCache(draw.input("x", x), kept, cached ? draw.input("cache", [x[0], kept, ...x.slice(2)]) : undefined) }),
    reference: (values) => ({ y: causalCacheReference(sizes, values) }),
  };
}

export const causalCacheCases: OpCases = {
  op: "causal_cache",
  kernels: oneKernel(kernel),
  tolerance: { f32: 0, f16: 0 },
  cases: [
    one("tiny", { x: [1, 1, 1, 1, 4], kept: 2, cached: false }),
    ...[1, 2, 3, 5].flatMap((frames) => [false, true].map((cached) => one("odd", { x: [2, frames, 3, 5, 4], kept: 2, cached }))),
    one("odd", { x: [2, 5, 3, 5, 4], kept: 2, cached: true }, { maxBindingBytes: 512 }),
    one("model", { x: [1, 2, 12, 20, 512], kept: 2, cached: true }),
  ],
};
