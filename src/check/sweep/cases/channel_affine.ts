/** channel_affine: padded channels, with a shift and without, both storage types, windows. */
import { channelAffine as kernel } from "#kernels";
import { channelAffine } from "../../../ops/channel_affine.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { padChannels, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export const channelAffineReference = (channels: number, { x, scale, shift }: Values): Float64Array =>
  padChannels(
    Float64Array.from(x!, (v, i) => v * scale![i % channels]! + (shift?.[i % channels] ?? 0)),
    channels,
  );

function one(size: Size, shape: readonly number[], { shift = true, ...more }: Partial<OpCase> & { shift?: boolean } = {}): OpCase {
  const c = shape.at(-1)!;
  return {
    size,
    name:
      `[${shape.join(", ")}]${shift ? "" : ", without a shift"}` +
      `${more.half ? `, f16: ${more.half.join(", ")}` : ""}${more.limits ? ", in windows" : ""}`,
    record: (draw) => ({
      y: channelAffine(draw.video("x", shape), draw.vector("scale", [c]), shift ? draw.vector("shift", [c]) : undefined, draw.type("y")),
    }),
    reference: (values) => ({ y: channelAffineReference(c, values) }),
    ...more,
  };
}

export const channelAffineCases: OpCases = {
  op: "channel_affine",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [1, 1, 1, 1, 4]),
    one("odd", [2, 3, 5, 7, 3]),
    one("odd", [1, 2, 6, 5, 20], { shift: false }),
    one("odd", [33, 10], { half: ["x"] }),
    one("odd", [33, 12], { half: ["y"] }),
    one("odd", [200, 100], { limits: { maxBindingBytes: 16384, maxGrid: 7 } }),
    one("model", [1, 4, 64, 64, 3]),
  ],
};
