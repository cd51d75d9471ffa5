/** Frames that are sums of runs of other frames: gradients of ops that copy or average frames. Kernels: kernels/resample/. */
import { frameSums as kernel } from "#kernels";
import { CogwheelError } from "../../base/errors.ts";
import type { Dispatch, Target } from "../../graph/op.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { dispatch, foldGrid } from "../../plan/dispatch.ts";
import { cut, window, windowFits, wrap } from "../../plan/windows.ts";

/** Of frames of a batch entry: the first and how many are added, and what the sum is multiplied by. */
export interface FrameRun {
  readonly first: number;
  readonly count: number;
  readonly factor: number;
}

/** y [B, T, …] from x [B, T', …] of its type: frame t of each batch entry is the sum of `runOf(t)`. Runs do not go back. */
export function frameSums(x: Tensor, y: Tensor, runOf: (t: number) => FrameRun, { caps, constant }: Target): Dispatch[] {
  const [batches, from, to] = [x.dim(0), x.dim(1), y.dim(1)];
  const plane = y.size / batches / to / 4;
  const runs = Array.from({ length: batches * to }, (_, i) => {
    const { first, count, factor } = runOf(i % to);
    return { first: Math.floor(i / to) * from + first, count, factor };
  });
  const table = Uint32Array.from(
    runs.flatMap(({ first, count, factor }) => [first, count, new Uint32Array(Float32Array.of(factor).buffer)[0]!]),
  );
  /** Vectors of x under vectors start … start + n − 1 of y. */
  const read = (start: number, n: number) => {
    const [a, b] = [Math.floor(start / plane), Math.floor((start + n - 1) / plane)];
    const within = a === b ? { from: start % plane, to: ((start + n - 1) % plane) + 1 } : { from: 0, to: plane };
    const filled = runs.slice(a, b + 1).filter(({ count }) => count > 0);
    if (filled.length === 0) return { first: 0, count: 1 };
    const last = filled.at(-1)!;
    const first = filled[0]!.first * plane + within.from;
    return { first, count: (last.first + last.count - 1) * plane + within.to - first };
  };
  const parts = cut(
    y.size / 4,
    (start, n) => windowFits(y, start, n, caps) && windowFits(x, read(start, n).first, read(start, n).count, caps),
  );
  if (!parts)
    throw new CogwheelError(
      "frame_sums",
      `the frames of x [${x.shape.join(", ")}] that make one frame must fit a binding of ${caps.maxBindingBytes} bytes; ` +
        "choose a smaller picture",
    );
  return parts.map(({ start, count }) => {
    const needed = read(start, count);
    const [source, target] = [window(x, needed.first, needed.count, caps), window(y, start, count, caps)];
    return dispatch({
      kernel,
      types: { X: x.dtype },
      params: { count, first: start, plane, x_base: wrap(source.base), y_base: wrap(target.base) },
      bindings: { x: source.view, runs: constant("runs of frames", table, [table.length]), y: target.view },
      grid: foldGrid(Math.ceil(count / kernel.overrides.WG), caps),
    });
  });
}
