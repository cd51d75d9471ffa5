/** group_norm_second: several batch entries, padded channels, rows that runs do not divide, windows. */
import { groupNormSecond as kernel } from "#kernels";
import { padTo } from "../../../graph/packing.ts";
import { groupNormSecond } from "../../../ops/group_norm_second.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

type Shape = readonly [batch: number, frames: number, height: number, width: number, channels: number];

export function groupNormSecondReference([B, T, H, W, C]: Shape, values: Values): Float64Array {
  const padded = padTo(C, 4);
  const { x, dy, dz, ofDy, ofDz, products } = values as Record<string, Float32Array>;
  return Float64Array.from({ length: B * T * H * W * padded }, (_, i) => {
    const [c, at] = [i % padded, Math.floor(i / padded)];
    const of = (record: Float32Array, row: number) => record[(4 * Math.floor(at / (T * H * W)) + row) * padded + c]!;
    const here = (tensor: Float32Array) => (c < C ? tensor[at * C + c]! : 0);
    const [mean, rstd, meanDy, b] = [0, 1, 2, 3].map((row) => of(ofDy!, row)) as [number, number, number, number];
    const [meanDz, a] = [of(ofDz!, 2), of(ofDz!, 3)];
    const along = of(products!, 3) - meanDy * meanDz - 3 * a * b;
    return -(rstd ** 2) * ((here(x!) - mean) * rstd * along + a * (here(dy!) - meanDy) + b * (here(dz!) - meanDz));
  });
}

function one(size: Size, shape: Shape, limits?: OpCase["limits"]): OpCase {
  const [B, , , , C] = shape;
  return {
    size,
    name: `[${shape.join(", ")}]${limits ? ", in windows" : ""}`,
    half: [],
    ...(limits ? { limits } : {}),
    record(draw) {
      const record = (name: string) => draw.input32(name, [B, 4, padTo(C, 4)], { offset: 0.5 });
      const [x, dy, dz] = ["x", "dy", "dz"].map((name) => draw.video(name, shape, { dtype: "f32" })) as [never, never, never];
      return { dx: groupNormSecond({ x, dy, dz, ofDy: record("ofDy"), ofDz: record("ofDz"), products: record("products") }) };
    },
    reference: (values) => ({ dx: groupNormSecondReference(shape, values) }),
  };
}

export const groupNormSecondCases: OpCases = {
  op: "group_norm_second",
  kernels: oneKernel(kernel),
  tolerance: { f32: 2e-6, f16: 2e-6 },
  cases: [
    one("tiny", [1, 1, 1, 1, 1]),
    one("odd", [2, 3, 5, 9, 10]),
    one("odd", [1, 4, 7, 131, 4]),
    one("odd", [2, 5, 12, 16, 8], { maxBindingBytes: 8192, maxGrid: 30 }),
    one("model", [1, 5, 32, 32, 256]),
  ],
};
