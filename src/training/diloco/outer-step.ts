/** The outer optimizer of DiLoCo: torch's SGD with Nesterov's momentum, whose gradient is the way back from the replicas' mean. */
import { type Exchanged, innerValue } from "./exchange.ts";

/**
 * δ = θ − θ̄, with θ̄ the mean of what the replicas came to; m ← μ·m + δ; θ ← θ − lr·(δ + μ·m). Sums are in float64, in the order of the
 * replicas, and θ and m are rounded to f32 once. It is computed as θ̄ − ((lr − 1)·δ + lr·μ·m), the same but for rounding: with a rate of 1
 * and no momentum θ is θ̄ to the bit.
 * @param outer θ, and @param momentum m; both are written
 */
export function outerStep(
  outer: Float32Array,
  momentum: Float32Array,
  replicas: readonly Exchanged[],
  { outerLr: lr, outerMomentum: mu }: { outerLr: number; outerMomentum: number },
): void {
  for (let i = 0; i < outer.length; i++) {
    let sum = 0;
    for (const replica of replicas) sum += innerValue(replica, outer, i);
    const mean = sum / replicas.length;
    const delta = outer[i]! - mean;
    const m = mu * momentum[i]! + delta;
    momentum[i] = m;
    outer[i] = mean - ((lr - 1) * delta + lr * mu * m);
  }
}
