/** A run that ended before its time, with what it had: nothing that was computed is lost. */
import { CogwheelError } from "../base/errors.ts";
import type { DenoiseState } from "../models/cogvideox/model.ts";

/** A generation that ended after some of its steps, for whatever reason (`cause`): `state` goes on from its last step. */
export class GenerationInterrupted extends CogwheelError {
  override readonly name = "GenerationInterrupted";
  constructor(
    /** The latents after the last step that was done; pass them as `start` to go on. */
    readonly state: DenoiseState,
    steps: number,
    cause: unknown,
    /** Whether it was asked to stop: the reason of an abort is whatever the caller gave. */
    stopped = false,
  ) {
    super(
      "generate",
      `stopped after step ${state.step} of ${steps}: ${cause instanceof Error ? cause.message : String(cause)}; ` +
        "its latents are kept, pass them as start to go on",
      { cause, code: stopped ? "aborted" : cause instanceof CogwheelError ? cause.code : "failed" },
    );
  }
}
