/**
 * Bindings that cover a part of a tensor. A binding has a largest size and an aligned start, so a kernel that may be given
 * a window of a tensor adds a base to its index into the whole: `base` is that number, and wraps where the window starts
 * after the tensor does (WGSL's u32 arithmetic wraps too).
 */
import type { Capabilities } from "../gpu/capabilities.ts";
import { bytesOf } from "../graph/dtype.ts";
import type { View } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";

export interface Window {
  readonly view: View;
  /** Added to an index, counted in vectors of 4 elements from the tensor's start. */
  readonly base: number;
}

/** Where a binding of the vectors `first … first + count - 1` starts and how many bytes it has. */
function range(tensor: Tensor, first: number, count: number, caps: Capabilities): { offset: number; bytes: number } {
  const vector = 4 * bytesOf[tensor.dtype];
  const offset = Math.floor((first * vector) / caps.offsetAlignment) * caps.offsetAlignment;
  return { offset, bytes: (first + count) * vector - offset };
}

/** May one binding hold these vectors? */
export function windowFits(tensor: Tensor, first: number, count: number, caps: Capabilities): boolean {
  return range(tensor, first, count, caps).bytes <= caps.maxBindingBytes;
}

/** A binding that holds the vectors `first … first + count - 1` of a tensor: the whole tensor where that may be bound. */
export function window(tensor: Tensor, first: number, count: number, caps: Capabilities): Window {
  if (tensor.bytes <= caps.maxBindingBytes) return { view: { tensor }, base: 0 };
  const { offset, bytes } = range(tensor, first, count, caps);
  return { view: { tensor, offset, bytes }, base: wrap(-offset / (4 * bytesOf[tensor.dtype])) };
}

/** As the kernel's u32 arithmetic sees it. */
export const wrap = (n: number): number => ((n % 2 ** 32) + 2 ** 32) % 2 ** 32;

/**
 * Cuts 0 … `count` into runs of which `fits(start, n)` holds, each as long as can be but no longer than the one before
 * needed; null when not even one alone fits.
 */
export function cut(count: number, fits: (start: number, n: number) => boolean): { start: number; count: number }[] | null {
  const parts: { start: number; count: number }[] = [];
  let n = count;
  for (let start = 0; start < count; start += n) {
    n = Math.min(n, count - start);
    while (n > 0 && !fits(start, n)) n = n > 64 ? Math.floor(n * 0.9) : n - 1;
    if (n === 0) return null;
    parts.push({ start, count: n });
  }
  return parts;
}
