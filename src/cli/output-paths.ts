/** Where the results of a command go. */
import { extname, resolve, sep } from "node:path";

/**
 * The full paths of `count` results: of several, `file.mp4` becomes `file-1.mp4` …; a folder that was
 * named as one, by a slash at its end, stays so.
 */
export function outputPaths(out: string, count: number): string[] {
  const path = resolve(out);
  const end = /[\\/]$/.test(out) && !path.endsWith(sep) ? sep : "";
  const ending = extname(path);
  const stem = path.slice(0, path.length - ending.length);
  return Array.from({ length: count }, (_, i) => `${count === 1 ? path : `${stem}-${i + 1}${ending}`}${end}`);
}
