/** A generation under way: what its stages share. */
import { joinedFloats } from "../../base/joined.ts";
import type { GenerateOptions } from "../options.ts";
import { defined } from "../options.ts";
import type { StageClock } from "../stage-clock.ts";
import type { Draws } from "./draws.ts";
import type { GenerationRequest } from "./request.ts";

export interface Run {
  readonly request: GenerationRequest;
  /** The request's, with callbacks and the signal as this run is to use them. */
  readonly options: GenerateOptions;
  readonly draws: Draws;
  readonly clock: StageClock;
  /** What the text encoder made of the prompt, where that is there already. */
  readonly text?: Float32Array;
}

/** Options of what runs on the device. */
export const running = ({ options: { signal, gpuProfile: profile, checkFinite } }: Run) => defined({ signal, profile, checkFinite });

/** Options of what loads weights. */
export const loading = ({ options: { signal } }: Run, report: (done: number) => void) => ({
  ...defined({ signal }),
  onProgress: (done: number, total: number) => report(total ? done / total : 1),
});

export const concat = (parts: readonly Float32Array[]): Float32Array => (parts.length === 1 ? parts[0]! : joinedFloats(parts));
