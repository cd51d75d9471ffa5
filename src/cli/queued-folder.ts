/** What a folder's work is called in a queue: the same whenever it goes on, by whichever process of this machine. */
import { createHash } from "node:crypto";
import { hostname } from "node:os";
import { resolve } from "node:path";

/** @param what is done there, where several things may be */
export function queuedFolder(folder: string, what = ""): { readonly id: string; readonly at: string } {
  const [host, path] = [hostname(), resolve(folder)];
  const id = createHash("sha256").update(`${what}${host} ${path}`).digest("hex").slice(0, 16);
  return { id, at: `${host}:${path}` };
}
