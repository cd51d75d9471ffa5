/** avg_pool2d: sizes with a rest, windows that are no squares and whole pictures, windows of the binding. */
import { avgPool2d as kernel } from "#kernels";
import { avgPool2d, type AvgPool2dAttrs } from "../../../ops/avg_pool2d.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import type { Five } from "./max_pool2d.ts";

export function avgPool2dReference([B, T, H, W, C]: Five, { rows, columns }: AvgPool2dAttrs, { x }: Values): Float64Array {
  const [h, w] = [Math.floor(H / rows), Math.floor(W / columns)];
  return Float64Array.from({ length: B * T * h * w * C }, (_, at) => {
    const [c, j, i, frame] = [at % C, Math.floor(at / C) % w, Math.floor(at / C / w) % h, Math.floor(at / C / w / h)];
    let sum = 0;
    for (let r = 0; r < rows; r++) for (let q = 0; q < columns; q++) sum += x![((frame * H + i * rows + r) * W + j * columns + q) * C + c]!;
    return sum / (rows * columns);
  });
}

function one(size: Size, shape: Five, rows: number, columns: number, limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `[${shape.join(", ")}], ${rows} × ${columns}${limits ? ", in windows" : ""}`,
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: avgPool2d(draw.input("x", shape), { rows, columns }) }),
    reference: (values) => ({ y: avgPool2dReference(shape, { rows, columns }, values) }),
  };
}

export const avgPool2dCases: OpCases = {
  op: "avg_pool2d",
  kernels: oneKernel(kernel),
  tolerance: { f32: 1e-6, f16: 1e-3 },
  cases: [
    one("tiny", [1, 1, 2, 2, 4], 2, 2),
    one("odd", [2, 3, 5, 7, 8], 2, 2),
    one("odd", [1, 2, 7, 9, 12], 3, 2),
    one("odd", [1, 9, 13, 24, 8], 13, 24),
    one("odd", [2, 2, 19, 23, 8], 2, 3, { maxBindingBytes: 4096, maxGrid: 7 }),
    one("model", [1, 100, 27, 48, 64], 2, 2),
  ],
};
