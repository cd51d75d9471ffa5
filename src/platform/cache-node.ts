/** Where what can be made again is kept for a user, in Node. */
import { homedir } from "node:os";
import { join } from "node:path";

/** A path below the folder that the system has for a user's caches. */
export function cachePath(...parts: string[]): string {
  const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  const base =
    XDG_CACHE_HOME ||
    (process.platform === "win32" && LOCALAPPDATA) ||
    join(homedir(), process.platform === "darwin" ? "Library/Caches" : ".cache");
  return join(base, "cogwheel", ...parts);
}
