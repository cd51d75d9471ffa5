/** What kernels are chosen by, in a line. */
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";

export function tuningLine({ gpu: { tuning } }: CogVideoX): string {
  if (!tuning) return "Kernels are chosen by what the adapter can do; `cogwheel tune` measures them.";
  return `Kernels are chosen by measurements on this adapter: ${tuning.path ?? "a table of the app's own"}`;
}
