/** The parts of a generation by the names under which progress and `video.seconds` tell of them. */

/**
 * In order; `load encoder` and `encode frames` only where there are frames to begin from, `prepare preview` in the first generation of
 * a model with previews, `queued` where another generation of the model is under way. `load …` reads weights and compiles.
 */
export type Stage =
  | "queued"
  | "load text encoder"
  | "encode prompt"
  | "load encoder"
  | "encode frames"
  | "prepare preview"
  | "load transformer"
  | "denoise"
  | "load decoder"
  | "decode";
