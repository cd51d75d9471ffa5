/** Collecting what JavaScript no longer reaches, where a driver's memory waits for that. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: (() => void) | undefined;

/** Collects now. Node says when by the size of its own heap, and knows nothing of what Dawn's and the driver's objects take behind it. */
export function collectGarbage(): void {
  if (!collect) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  collect();
}
