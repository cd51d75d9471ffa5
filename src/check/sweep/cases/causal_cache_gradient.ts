/** causal_cache_gradient: fewer and more frames than are kept, with and without a cache before them, windows. */
import { frameSums as kernel } from "#kernels";
import { causalCacheGradient } from "../../../ops/causal_cache_gradient.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import type { CacheSizes } from "./causal_cache.ts";

export function causalCacheGradientReference(
  { x: [B, T, H, W, C], kept, cached }: CacheSizes,
  { dy }: Values,
): Record<string, Float64Array> {
  const plane = H * W * C;
  const [dx, dcache] = [new Float64Array(B * T * plane), new Float64Array(B * kept * plane)];
  for (let b = 0; b < B; b++)
    for (let i = 0; i < kept; i++) {
      const frame = T - kept + i;
      const [to, at] = frame >= 0 || !cached ? [dx, b * T + Math.max(frame, 0)] : [dcache, b * kept + frame + kept];
      for (let p = 0; p < plane; p++) to[at * plane + p]! += dy![(b * kept + i) * plane + p]!;
    }
  return { dx, ...(cached ? { dcache } : {}) };
}

function one(size: Size, sizes: CacheSizes, limits?: OpCase["limits"]): OpCase {
  const { x, kept, cached } = sizes;
  return {
    size,
    name: `${kept} frames of [${x.join(", ")}]${cached ? " and a cache" : ""}${limits ? ", in windows" : ""}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({ ...causalCacheGradient(draw.input("dy", [x[0], kept, ...x.slice(2)]), { frames: x[1], cached }) }),
    reference: (values) => causalCacheGradientReference(sizes, values),
  };
}

export const causalCacheGradientCases: OpCases = {
  op: "causal_cache_gradient",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-7, f16: 1e-3 },
  cases: [
    one("tiny", { x: [1, 1, 1, 1, 4], kept: 2, cached: false }),
    ...[1, 2, 5].flatMap((frames) => [false, true].map((cached) => one("odd", { x: [2, frames, 3, 5, 4], kept: 2, cached }))),
    one("odd", { x: [1, 2, 3, 5, 4], kept: 4, cached: false }),
    one("odd", { x: [2, 5, 3, 5, 4], kept: 2, cached: false }, { maxBindingBytes: 512 }),
    one("model", { x: [1, 2, 12, 20, 512], kept: 2, cached: false }),
  ],
};
