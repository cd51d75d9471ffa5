/** A queue by its address. */
import { CogwheelError } from "../base/errors.ts";
import type { JobBackend } from "./backend.ts";
import { openEmbedded } from "./embedded-node.ts";

/** A folder of this machine. */
export async function openJobs(address: string): Promise<JobBackend> {
  if (/^\w+:\/\//.test(address)) throw new CogwheelError("jobs", `a queue must be a folder, got ${address}; name one of this machine`);
  return await openEmbedded(address);
}
