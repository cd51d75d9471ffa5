/** conv3d_gradient_x: strides and their phases, borders, repeated frames, caches, doubling, dilation, weights in every role, windows. */
import { conv3dFold, conv3dOctet, conv3dQuad, conv3dQuadRow, conv3dSubgroupMatrix, conv3dTiled, conv3dTurnWeight } from "#kernels";
import type { Capabilities } from "../../../gpu/capabilities.ts";
import { padTo } from "../../../graph/packing.ts";
import { conv3dCandidates } from "../../../ops/conv3d.ts";
import { conv3dGradientX } from "../../../ops/conv3d_gradient_x.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { padChannels, type Precision, type Values } from "../draw.ts";
import { cpuKernel, eightLanes, fewerLanes, matrixKernel, oneKernel, tiledKernel } from "../listed-kernels.ts";
import { attrsOf, type ConvSizes, outputShape, tapsOf, weightShape } from "./conv3d.ts";

/** By the definition: every tap sends back to where it looked what its position's channels weigh. */
export function conv3dGradientXReference(c: ConvSizes, of: "x" | "cache", { w, dy }: Values): Float64Array {
  const [B, T, H, W, C] = c.x;
  const [N, kt, kh, kw] = c.w;
  const taps = kt * kh * kw;
  const frames = of === "x" ? T : (c.padFrames ?? [kt - 1])[0];
  const dx = new Float64Array(B * frames * H * W * C);
  for (const { position, tap, source, at } of tapsOf(c))
    if (source === of)
      for (let n = 0; n < N; n++) {
        const g = dy![position * N + n]!;
        for (let i = 0; i < C; i++) dx[at + i]! += g * w![(n * C + i) * taps + tap]!;
      }
  return padChannels(dx, C);
}

const sizesOf = new WeakMap<OpCase, ConvSizes>();

function one(
  size: Size,
  title: string,
  c: ConvSizes,
  { half = "gwx", of = "x", ...fields }: Partial<Omit<OpCase, "half">> & { half?: string; of?: "x" | "cache" } = {},
): OpCase {
  const [N, kt, kh, kw] = c.w;
  const C = c.x[4];
  const made: OpCase = {
    size,
    name: `${title}, ${C} to ${N} channels${of === "cache" ? ", of the cache" : ""}${c.given ? ", w an input" : ""} (${half})`,
    ...fields,
    half: [...half],
    record(draw) {
      const shape = weightShape(c);
      const scale = (N * kt * kh * kw) ** -0.5;
      const w = c.given ? draw.input("w", shape, { scale }) : draw.weight("w", shape, { scale });
      const dy = draw.video("dy", outputShape(c), { dtype: draw.type("g") });
      return {
        dx: conv3dGradientX(dy, w, {
          conv: attrsOf(c),
          shape: [...c.x.slice(0, 4), padTo(C, 4)],
          front: c.cached ? "cache" : c.zeroFrames ? "zeros" : "repeat",
          of,
          dtype: draw.type("x"),
        }),
      };
    },
    reference: (values) => ({ dx: conv3dGradientXReference(c, of, values) }),
  };
  sizesOf.set(made, c);
  return made;
}

/** Is some of it put together from what was seen? */
const folds = (c: OpCase): boolean => {
  const { stride = [1], replicate, upsample } = sizesOf.get(c)!;
  return stride.some((s) => s > 1) || replicate === true || upsample !== undefined;
};

/** Frames of dx are computed with as few taps as reach them, so which kernel a part takes depends on how many frames have all. */
function takesMatrices(c: OpCase, caps: Capabilities, precision: Precision): boolean {
  const sizes = sizesOf.get(c)!;
  const [, , H, W] = sizes.x;
  const half = precision === "f16" && ["g", "w"].every((name) => c.half!.includes(name));
  const shape = { m: H * W, n: padTo(sizes.x[4], 4), cin: padTo(sizes.w[0], 4), kw: sizes.w[3], stride: 1, half };
  return !c.limits && conv3dCandidates({ ...caps, kind: "hardware" }, shape).some((v) => v.name === "subgroup_matrix");
}

/** All phases have three taps a row, or none of them. */
const threeTaps = (c: OpCase): boolean => sizesOf.get(c)!.w[3] === 3 && (sizesOf.get(c)!.stride?.[2] ?? 1) === 1;

export const conv3dGradientXCases: OpCases = {
  op: "conv3d_gradient_x",
  kernels: [
    cpuKernel(conv3dOctet, { needs: eightLanes }),
    cpuKernel(conv3dQuad, { needs: fewerLanes, takes: (c) => !threeTaps(c) }),
    cpuKernel(conv3dQuadRow, { needs: fewerLanes, takes: threeTaps }),
    matrixKernel(conv3dSubgroupMatrix, { takes: takesMatrices }),
    tiledKernel(conv3dTiled),
    ...oneKernel(conv3dTurnWeight),
    ...oneKernel(conv3dFold).map((choice) => ({ ...choice, takes: folds })),
  ],
  tolerance: { f32: 1e-5, f16: 1e-3 },
  cases: [
    one("tiny", "1×1×1 of one position", { x: [1, 1, 1, 1, 1], w: [1, 1, 1, 1] }),
    one("odd", "3×3×3", { x: [2, 3, 5, 7, 5], w: [7, 3, 3, 3] }),
    one("odd", "3×3×3", { x: [1, 4, 4, 6, 20], w: [16, 3, 3, 3], given: true }, { half: "gw" }),
    one("odd", "3×3×3 of one frame", { x: [1, 1, 4, 5, 24], w: [32, 3, 3, 3] }, { half: "gw" }),
    ...(["x", "cache"] as const).map((of) =>
      one("odd", "3×3×3 on a cache", { x: [2, 3, 4, 5, 5], w: [18, 3, 3, 3], cached: true }, { of }),
    ),
    one("odd", "2-D, stride 2, padded right and below", { x: [1, 3, 6, 10, 8], w: [24, 1, 3, 3], stride: [1, 2, 2], pad: [0, 1, 0, 1] }),
    one("odd", "1×1×1, stride 2", { x: [1, 2, 5, 4, 12], w: [8, 1, 1, 1], stride: [1, 2, 2] }),
    one("odd", "4×4×4, stride 2", {
      x: [1, 5, 7, 6, 3],
      w: [6, 4, 4, 4],
      stride: [2, 2, 2],
      pad: [1, 1, 1, 1],
      padFrames: [1, 1],
      zeroFrames: true,
    }),
    one("odd", "strides everywhere, dilated in time", { x: [1, 9, 7, 6, 4], w: [5, 3, 3, 3], stride: [2, 2, 3], dilation: 3 }),
    one("odd", "2-D on all doubled, 3 frames", { x: [1, 3, 2, 5, 4], w: [4, 1, 3, 3], upsample: "space-time" }),
    one("odd", "3×3×3 on all doubled, 2 frames", { x: [2, 2, 3, 3, 4], w: [8, 3, 3, 3], upsample: "space-time" }),
    one("odd", "replicated borders, stride 2", { x: [1, 2, 5, 4, 4], w: [4, 3, 5, 5], replicate: true, stride: [1, 2, 2] }),
    one("odd", "3×3×3 in windows", { x: [2, 4, 24, 24, 4], w: [4, 3, 3, 3] }, { limits: { maxBindingBytes: 29 * 1024, maxGrid: 40 } }),
    one("model", "3×3×3", { x: [1, 2, 6, 8, 128], w: [256, 3, 3, 3] }, { half: "gw" }),
    one("model", "2-D on rows and columns doubled", { x: [1, 2, 4, 4, 256], w: [256, 1, 3, 3], upsample: "space" }, { half: "gw" }),
  ],
};
