/** conv3d_gradient_w: every tile, frames in slots and one after another, strides, borders, caches, doubling, dilation, windows. */
import {
  conv3dGradientWOctet,
  conv3dGradientWOctetRow,
  conv3dGradientWQuad,
  conv3dGradientWSubgroupMatrix,
  conv3dGradientWTiled,
  conv3dWeightSums,
} from "#kernels";
import type { Capabilities } from "../../../gpu/capabilities.ts";
import { conv3dGradientW } from "../../../ops/conv3d_gradient_w.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Precision, Values } from "../draw.ts";
import { cpuKernel, eightLanes, fewerLanes, matrixKernel, oneKernel, tiledKernel } from "../listed-kernels.ts";
import { attrsOf, type ConvSizes, outputShape, tapsOf, weightShape } from "./conv3d.ts";

/** By the definition: every tap adds what it looked at, times the gradients of its position's channels. */
export function conv3dGradientWReference(c: ConvSizes, { x, dy, cache }: Values): Float64Array {
  const C = c.x[4];
  const [N, kt, kh, kw] = c.w;
  const taps = kt * kh * kw;
  const dw = new Float64Array(N * C * taps);
  for (const { position, tap, source, at } of tapsOf(c)) {
    if (!source) continue;
    const values = source === "x" ? x! : cache!;
    for (let n = 0; n < N; n++) {
      const g = dy![position * N + n]!;
      for (let i = 0; i < C; i++) dw[(n * C + i) * taps + tap]! += g * values[at + i]!;
    }
  }
  return dw;
}

const sizesOf = new WeakMap<OpCase, ConvSizes>();

function one(
  size: Size,
  title: string,
  c: ConvSizes,
  { half = "gx", ...fields }: Partial<Omit<OpCase, "half">> & { half?: string } = {},
): OpCase {
  const N = c.w[0];
  const [B, , H, W, C] = c.x;
  const made: OpCase = {
    size,
    name: `${title}, ${C} to ${N} channels (${half})`,
    ...fields,
    half: [...half],
    record(draw) {
      const [before] = attrsOf(c).padFrames;
      const dtype = draw.type("x");
      return {
        dw: conv3dGradientW(
          {
            x: draw.video("x", c.x),
            dy: draw.video("dy", outputShape(c), { dtype: draw.type("g") }),
            cache: c.cached ? draw.video("cache", [B, before, H, W, C], { dtype }) : undefined,
          },
          {
            conv: attrsOf(c),
            shape: weightShape(c),
          },
        ),
      };
    },
    reference: (values) => ({ dw: conv3dGradientWReference(c, values) }),
  };
  sizesOf.set(made, c);
  return made;
}

/** Three taps a row at stride 1. */
const threeTaps = (c: OpCase): boolean => sizesOf.get(c)!.w[3] === 3 && (sizesOf.get(c)!.stride?.[2] ?? 1) === 1;

/** Both in f16. */
const takesMatrices = (c: OpCase, _: Capabilities, precision: Precision): boolean => precision === "f16" && c.half!.length === 2;

export const conv3dGradientWCases: OpCases = {
  op: "conv3d_gradient_w",
  kernels: [
    cpuKernel(conv3dGradientWOctetRow, { needs: eightLanes, takes: threeTaps }),
    cpuKernel(conv3dGradientWOctet, { needs: eightLanes, takes: (c) => !threeTaps(c) }),
    cpuKernel(conv3dGradientWQuad, { needs: fewerLanes }),
    matrixKernel(conv3dGradientWSubgroupMatrix, { takes: takesMatrices }),
    tiledKernel(conv3dGradientWTiled),
    ...oneKernel(conv3dWeightSums),
  ],
  tolerance: { f32: 1e-5, f16: 1e-5 },
  cases: [
    one("tiny", "1×1×1 of one position", { x: [1, 1, 1, 1, 1], w: [1, 1, 1, 1] }),
    one("odd", "3×3×3", { x: [2, 3, 5, 7, 5], w: [7, 3, 3, 3] }),
    ...["gx", "g", "x"].map((half) => one("odd", "3×3×3", { x: [1, 2, 5, 6, 24], w: [40, 3, 3, 3] }, { half })),
    one("odd", "3×3×3, many positions", { x: [1, 2, 19, 17, 8], w: [40, 3, 3, 3] }),
    one("odd", "1×1×1", { x: [2, 2, 3, 5, 136], w: [136, 1, 1, 1] }),
    one("odd", "3×3×3 on a cache", { x: [2, 3, 4, 5, 5], w: [18, 3, 3, 3], cached: true }),
    one("odd", "3×3×3 centred in time, zeros around", { x: [2, 4, 3, 5, 4], w: [6, 3, 3, 3], padFrames: [1, 1], zeroFrames: true }),
    one("odd", "2-D, stride 2, padded right and below", { x: [1, 3, 6, 10, 8], w: [8, 1, 3, 3], stride: [1, 2, 2], pad: [0, 1, 0, 1] }),
    one("odd", "4×4×4, stride 2", {
      x: [1, 5, 7, 6, 3],
      w: [6, 4, 4, 4],
      stride: [2, 2, 2],
      pad: [1, 1, 1, 1],
      padFrames: [1, 1],
      zeroFrames: true,
    }),
    one("odd", "2-D on all doubled, 3 frames", { x: [1, 3, 2, 5, 4], w: [4, 1, 3, 3], upsample: "space-time" }),
    one("odd", "replicated borders, dilated in time", { x: [1, 6, 4, 3, 8], w: [8, 3, 3, 3], replicate: true, dilation: 2, cached: true }),
    one(
      "odd",
      "3×3×3 in windows",
      { x: [2, 4, 24, 24, 4], w: [4, 3, 3, 3], cached: true },
      { limits: { maxBindingBytes: 29 * 1024, maxGrid: 40 } },
    ),
    one("model", "3×3×3", { x: [1, 2, 6, 8, 256], w: [128, 3, 3, 3] }),
    one("model", "2-D, stride 2", { x: [1, 2, 9, 9, 128], w: [128, 1, 3, 3], stride: [1, 2, 2], pad: [0, 1, 0, 1] }),
  ],
};
