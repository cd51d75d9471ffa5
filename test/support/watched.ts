/** A process whose output a test sees as it comes. */
import type { ChildProcessWithoutNullStreams } from "node:child_process";

export interface Ended {
  code: number | null;
  out: string;
  err: string;
  seconds: number;
}

/** All that has come so far, and the process. */
export type Watch = (text: string, child: ChildProcessWithoutNullStreams) => void;

/** What a process says until it ends. */
export function watched(child: ChildProcessWithoutNullStreams, watch?: Watch): Promise<Ended> {
  const begun = performance.now();
  let out = "";
  let err = "";
  child.stdout.on("data", (text: Buffer) => {
    out += text;
    watch?.(out + err, child);
  });
  child.stderr.on("data", (text: Buffer) => {
    err += text;
    watch?.(out + err, child);
  });
  return new Promise((done) => child.on("close", (code) => done({ code, out, err, seconds: (performance.now() - begun) / 1000 })));
}
