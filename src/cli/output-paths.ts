/** Where the results of a command go. */
import { extname, resolve, sep } from "node:path";
import { CogwheelError } from "../base/errors.ts";
import type { VideoFormat } from "../video/formats.ts";

/**
 * The full paths of `count` results: of several, `file.mp4` becomes `file-1.mp4` …; a folder that was
 * named as one, by a slash at its end, stays so.
 */
export function outputPaths(out: string, count: number): string[] {
  if (isPiped(out)) {
    if (count > 1)
      throw new CogwheelError("output", `standard output takes one video, got ${count} for --out ${out}; name a file, or make one`, {
        code: "invalid-request",
      });
    return [out];
  }
  const path = resolve(out);
  const end = /[\\/]$/.test(out) && !path.endsWith(sep) ? sep : "";
  const ending = extname(path);
  const stem = path.slice(0, path.length - ending.length);
  return Array.from({ length: count }, (_, i) => `${count === 1 ? path : `${stem}-${i + 1}${ending}`}${end}`);
}

/** Does `--out` name standard output: `-`, or `-.webm` and such? A file of such a name is `./-.webm`. */
export const isPiped = (out: string): boolean => /^-(\.\w+)?$/.test(out);

/** What is written to standard output, if that is named: as its ending says, else an MP4, or a PNG of one frame. */
export function pipedFormat(out: string, frames: number): VideoFormat | undefined {
  if (!isPiped(out)) return undefined;
  const ending = out.slice(2).toLowerCase() || (frames === 1 ? "png" : "mp4");
  if (ending === "mp4" || ending === "webm" || ending === "gif" || (ending === "png" && frames === 1)) return ending;
  throw new CogwheelError(
    "output",
    `standard output takes -.mp4, -.webm, -.gif or, of one frame, -.png, got ${out} and ${frames} frames; name another, or a file`,
    { code: "invalid-request" },
  );
}
