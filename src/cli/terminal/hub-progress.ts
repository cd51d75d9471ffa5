/** How far a download from the hub is, as a command shows it. */
import type { HubOptions } from "../../hub/id.ts";
import type { Progress } from "./progress.ts";

/** Shows how far a download from the hub is. */
export function hubProgress(progress: Progress): Pick<HubOptions, "onProgress" | "onWarning"> {
  return {
    onProgress: ({ phase, done, total, file }) => {
      if (phase === "wait") progress.note("Another process downloads this model; waiting for it.");
      else progress.report(phase, total === 0 ? 1 : done / total, `${giga(done)} of ${giga(total)} GB  ${file}`);
    },
    onWarning: (message) => progress.note(message),
  };
}

const giga = (bytes: number): string => (bytes / 1e9).toFixed(2);
