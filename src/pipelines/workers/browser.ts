/** Worker processes where there are none: a page has one device, and one process that may use it. */
import { CogwheelError } from "../../base/errors.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { WorkerOpening, WorkerPlace, WorkerProcesses } from "./types.ts";

export function startWorkers(
  _opening: WorkerOpening,
  places: readonly WorkerPlace[],
  _config: VaeConfig,
  _onWarning?: (text: string) => void,
): WorkerProcesses {
  throw new CogwheelError(
    "vae",
    `workers are processes of their own, which Node can start and a page cannot, got ${places.length}; leave the option out`,
  );
}
