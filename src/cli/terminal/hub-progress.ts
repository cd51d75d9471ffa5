/** How far a download from the hub is, as a command shows it. */
import type { HubOptions } from "../../hub/id.ts";
import { bytesUnit } from "../../base/units.ts";
import type { Progress } from "./progress.ts";

/** Shows how far a download from the hub is. */
export function hubProgress(progress: Progress): Pick<HubOptions, "onProgress" | "onWarning"> {
  return {
    onProgress: ({ phase, done, total, file }) => {
      if (phase === "wait") progress.note("Another process downloads this model; waiting for it.");
      else progress.report(phase, total === 0 ? 1 : done / total, `${shares(done, total)}  ${file}`);
    },
    onWarning: (message) => progress.note(message),
  };
}

function shares(done: number, total: number): string {
  const { unit, bytes } = bytesUnit(total);
  const digits = unit === "GB" ? 2 : 1;
  return `${(done / bytes).toFixed(digits)} of ${(total / bytes).toFixed(digits)} ${unit}`;
}
