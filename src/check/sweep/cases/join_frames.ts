/** join_frames: two parts and more of unlike lengths, several batch entries, windows. */
import { copyVectors as kernel } from "#kernels";
import { joinFrames } from "../../../ops/join_frames.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import type { Values } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";

export interface JoinFramesSizes {
  readonly batch: number;
  readonly frames: readonly number[];
  readonly rest: readonly number[];
}

export function joinFramesReference({ batch, frames, rest }: JoinFramesSizes, values: Values): Float64Array {
  const plane = rest.reduce((a, b) => a * b, 1);
  const total = frames.reduce((a, b) => a + b, 0);
  const out = new Float64Array(batch * total * plane);
  let at = 0;
  for (const [i, n] of frames.entries()) {
    for (let b = 0; b < batch; b++) out.set(values[`x${i}`]!.subarray(b * n * plane, (b + 1) * n * plane), (b * total + at) * plane);
    at += n;
  }
  return out;
}

function one(size: Size, sizes: JoinFramesSizes, limits?: OpCase["limits"]): OpCase {
  const { batch, frames, rest } = sizes;
  return {
    size,
    name: `${frames.join(" + ")} of ${batch} × [${rest.join(", ")}]${limits ? ", in windows" : ""}`,
    ...(limits ? { limits } : {}),
    record(draw) {
      const type = draw.type("x");
      return { y: joinFrames(frames.map((n, i) => draw.input(`x${i}`, [batch, n, ...rest], { dtype: type }))) };
    },
    reference: (values) => ({ y: joinFramesReference(sizes, values) }),
  };
}

export const joinFramesCases: OpCases = {
  op: "join_frames",
  kernels: oneKernel(kernel),
  tolerance: { f32: 0, f16: 0 },
  cases: [
    one("tiny", { batch: 1, frames: [1, 1], rest: [4] }),
    one("odd", { batch: 2, frames: [3, 1, 2], rest: [3, 5, 4] }),
    one("odd", { batch: 2, frames: [3, 4], rest: [5, 5, 4] }, { maxBindingBytes: 512 }),
    one("model", { batch: 1, frames: [1, 4, 4], rest: [60, 90, 128] }),
  ],
};
