/** A generation under way: a promise of the video that can also be iterated for its steps. */
import type { DenoiseState } from "../models/cogvideox/model.ts";
import type { RgbaFrame } from "../video/frame.ts";
import type { Video } from "./video.ts";

/** What is there after a denoising step. */
export interface GenerationStep {
  /** Steps that are done, of how many. */
  readonly step: number;
  readonly steps: number;
  /** The latents reached so far; `start` of another `generate` goes on from them. */
  readonly state: DenoiseState;
  /** Seconds this step took, and those that the steps left will take if they are like the ones so far. */
  readonly seconds: number;
  readonly secondsLeft: number;
  /**
   * Small pictures of the video as it looks now, a frame for every latent frame, of the first sample or
   * another one. Empty unless `preview` was asked for.
   */
  preview(sample?: number): RgbaFrame[];
}

/**
 * `await` it for the video, or `for await` over it for its steps; both may be done. Leaving the loop early does not stop the generation
 * (an AbortSignal does). Steps that were taken before the loop began come first, so none is missed.
 */
export type Generation = Promise<Video> & AsyncIterable<GenerationStep>;

/**
 * The generations of several prompts: `await` it for all videos, or `for await` over it for each as it is made. Leaving the loop early does
 * not stop them.
 */
export type Generations = Promise<readonly Video[]> & AsyncIterable<Video>;

/** Runs `work`, which tells its steps, at once. */
export function generation<Step, Result>(work: (emit: (step: Step) => void) => Promise<Result>): Promise<Result> & AsyncIterable<Step> {
  const steps: Step[] = [];
  const waiting: (() => void)[] = [];
  const advance = (): void => {
    for (const wake of waiting.splice(0)) wake();
  };
  const video = work((step) => {
    steps.push(step);
    advance();
  });
  return Object.assign(video, {
    async *[Symbol.asyncIterator](): AsyncGenerator<Step, void> {
      let over = false;
      // What goes wrong is thrown below: a loop is enough, and nobody has to await the promise beside it.
      void video
        .then(
          () => undefined,
          () => undefined,
        )
        .then(() => {
          over = true;
          advance();
        });
      for (let i = 0; ; i++) {
        while (i >= steps.length && !over) await new Promise<void>((wake) => waiting.push(wake));
        if (i >= steps.length) break;
        yield steps[i]!;
      }
      await video;
    },
  });
}
