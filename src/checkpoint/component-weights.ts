/** The weights of a checkpoint's component as a provider: read by range, as the files have them. */
import { fitsF16 } from "../files/float16-loss.ts";
import type { Component } from "./checkpoint.ts";
import type { WeightIndex } from "./weight-index.ts";
import { CogwheelError } from "../base/errors.ts";
import type { DType } from "../graph/dtype.ts";
import type { StoredWeight } from "../graph/stored.ts";
import type { LossCount } from "../run/loss-counters.ts";
import type { WeightProvider } from "../run/weight-provider.ts";

export interface KeptInF32 {
  readonly name: string;
  readonly overflow: number;
  readonly underflow: number;
}

/** A checkpoint's component as where weights come from, by their published names. */
export class ComponentWeights implements WeightProvider {
  readonly #kept = new Map<string, KeptInF32>();

  private constructor(
    readonly index: WeightIndex,
    readonly dtype: "f32" | "f16",
    private readonly onKept?: (kept: readonly KeptInF32[]) => void,
  ) {}

  /**
   * With f16 storage every matrix that the file holds in a wider type is counted while it is loaded: those that would lose more than
   * rounding (see `fitsF16`) become f32 then. What is f16 in the file loses nothing and is not counted.
   * @param onKept is told of those, each once
   */
  static open(component: Component, dtype: "f32" | "f16", onKept?: (kept: readonly KeptInF32[]) => void): ComponentWeights {
    if (!component.weights)
      throw new CogwheelError("checkpoint", `${component.name} must have weights, got none; the checkpoint is incomplete`);
    return new ComponentWeights(component.weights, dtype, onKept);
  }

  /** Weights that do not fit f16 and are stored as f32. */
  get kept(): KeptInF32[] {
    return [...this.#kept.values()];
  }

  /** Vectors (biases, norms) are always f32: they are small, and sums start from them. */
  type(name: string): DType {
    const entry = this.index.get(name);
    return this.dtype === "f16" && entry && entry.shape.length > 1 && !this.#kept.has(this.index.resolve(name)!) ? "f16" : "f32";
  }

  stored(name: string): StoredWeight {
    return this.index.stored(name);
  }

  prefetch(names: readonly string[], signal: AbortSignal): void {
    this.index.prefetch(names, signal);
  }

  judge(losses: ReadonlyMap<string, LossCount>): string[] {
    const kept = [...losses].filter(([, loss]) => !fitsF16(loss)).map(([name, { overflow, underflow }]) => ({ name, overflow, underflow }));
    for (const one of kept) this.#kept.set(this.index.resolve(one.name)!, one);
    if (kept.length) this.onKept?.(kept);
    return kept.map(({ name }) => name);
  }
}

/** What a user is told of weights that were kept. */
export function keptMessage(component: string, kept: readonly KeptInF32[]): string {
  const list = kept
    .slice(0, 8)
    .map((k) => `${k.name} (${k.overflow} too large, ${k.underflow} too small)`)
    .join(", ");
  return (
    `[checkpoint] ${kept.length} of ${component}'s weights do not fit f16 and stay f32: ` +
    `${list}${kept.length > 8 ? ` and ${kept.length - 8} more` : ""}`
  );
}
