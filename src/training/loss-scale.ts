/**
 * The factor of the loss that keeps small gradients above f16's smallest number. A step whose gradients are not finite is not taken, and
 * halves it; so many good steps in a row double it (Micikevicius et al. 2017, arXiv:1710.03740).
 */
import { CogwheelError } from "../base/errors.ts";

export interface LossScaleState {
  readonly scale: number;
  /** Steps since it changed. */
  readonly good: number;
  /** Steps in a row that were not taken. */
  readonly skipped: number;
}

/** As in CogVideoX's own training. */
const GROWS_AFTER = 400;
const LARGEST = 2 ** 28;
const MOST_SKIPPED = 10;

/**
 * The scale of the first step. The loss is a mean, so the gradient of a prediction is of the order of one over the values that it is a mean
 * of: their number, as a power of two, brings it to the middle of what f16 holds.
 * @param dtype in f32 the loss is not scaled, and a step that is not finite is not taken all the same @param values of a step's latents
 */
export const firstLossScale = (dtype: "f32" | "f16", values: number): LossScaleState => ({
  scale: dtype === "f16" ? Math.min(LARGEST, 2 ** Math.floor(Math.log2(values))) : 1,
  good: 0,
  skipped: 0,
});

/** After a step. Throws where none of ten in a row could be taken. @param notFinite values of the gradients that were not */
export function nextLossScale(state: LossScaleState, dtype: "f32" | "f16", taken: boolean, notFinite: number): LossScaleState {
  const scaled = dtype === "f16";
  if (!taken) {
    const skipped = state.skipped + 1;
    if (skipped >= MOST_SKIPPED)
      throw new CogwheelError(
        "training",
        `gradients must be finite, got ${notFinite} NaN or infinite values, and ${skipped} steps in a row that could not be taken; ` +
          "begin anew with a lower learning rate or a longer warm-up, or look for broken clips (NaN latents or texts)" +
          (scaled ? ", or train in f32" : ""),
        { code: "failed" },
      );
    return { scale: scaled ? Math.max(1, state.scale / 2) : 1, good: 0, skipped };
  }
  const grows = scaled && state.good + 1 >= GROWS_AFTER && state.scale < LARGEST;
  return { scale: grows ? state.scale * 2 : state.scale, good: grows ? 0 : state.good + 1, skipped: 0 };
}
