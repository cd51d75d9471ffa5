/** pixels: the exact halves of bytes, values beyond the range, both formats, windows. */
import { pixels as kernel } from "#kernels";
import { elements } from "../../../graph/dtype.ts";
import { pixels } from "../../../ops/pixels.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { drawn, type Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

const title = (shape: readonly number[], limits?: OpCase["limits"]): string => `[${shape.join(", ")}]${limits ? ", in windows" : ""}`;

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

function one(size: Size, shape: readonly number[], format: "frames" | "rgba", limits?: OpCase["limits"]): OpCase {
  return {
    size,
    name: `${title(shape, limits)} as ${format}`,
    half: ["x"],
    ...(limits ? { limits } : {}),
    record: (draw) => ({ y: pixels(draw.video("x", [...shape, 3], { data: beyond(3 * elements(shape)) }), { format }) }),
    reference: (values) => ({ y: pixelsReference(format, values) }),
  };
}

export const pixelsCases: OpCases = {
  op: "pixels",
  kernels: oneKernel(kernel),
  tolerance: { f32: 0, f16: 0 },
  cases: (["frames", "rgba"] as const).flatMap((format) => [
    one("tiny", [1, 1, 1, 1], format),
    one("odd", [1, 3, 17, 23], format),
    one("odd", [1, 3, 17, 23], format, { maxBindingBytes: 4096 }),
    one("model", [1, 2, 60, 90], format),
  ]),
};
