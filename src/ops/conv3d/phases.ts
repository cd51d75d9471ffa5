/**
 * The gradient with respect to what a convolution read is a convolution of dy itself, with taps in reverse. With a stride it is several:
 * places of x that differ by a multiple of the stride meet the same taps, and so each such phase is a convolution with stride 1 of its own
 * taps. This is the arithmetic of it, along one axis.
 */
import { gcd } from "../../plan/dispatch.ts";

/** A convolution along one axis. */
export interface ConvAxis {
  readonly taps: number;
  readonly stride: number;
  readonly dilation: number;
  /** Places before the first of x under tap 0. */
  readonly before: number;
}

/** Every stride-th place, and the taps that it meets; none where the stride skips them. */
export interface Phase {
  /** The tap of w under the last tap of the phase, and how far the others lie apart. */
  readonly tap: number;
  readonly step: number;
  readonly taps: number;
  readonly dilation: number;
  /** Places of dy before its first under tap 0 of the phase. */
  readonly before: number;
}

/** The phases of the places of x from `from` on, in order. Place `from + ρ + m · stride` is number m of phase ρ. */
export function phasesOf({ taps, stride, dilation, before }: ConvAxis, from: number): Phase[] {
  const step = stride / gcd(stride, dilation);
  return Array.from({ length: stride }, (_, phase) => {
    // Output o sees place i of x with tap a where o · stride + a · dilation = i + before.
    const place = phase + from + before;
    let tap = 0;
    while (tap < taps && (place - tap * dilation) % stride !== 0) tap++;
    if (tap === taps) return { tap: 0, step: 1, taps: 0, dilation: 1, before: 0 };
    const count = Math.floor((taps - 1 - tap) / step) + 1;
    const apart = (step * dilation) / stride;
    return { tap, step, taps: count, dilation: apart, before: (count - 1) * apart - (place - tap * dilation) / stride };
  });
}
