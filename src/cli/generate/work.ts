/** What the parts of the work share. */
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import type { Progress } from "../terminal/progress.ts";

export interface GenerateWork {
  readonly model: CogVideoX;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** One of several: an object of JSON is a line. */
  readonly inBatch?: true;
}
