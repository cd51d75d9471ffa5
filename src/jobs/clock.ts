/** Leases are written by one machine's clock and judged by another's, so that all must be near the store's. */
import type { JobBackend } from "./backend.ts";

/** What is wrong with this machine's clock, and what to do; undefined where it is within `mostMs` of the store's. */
export async function clockFault(backend: JobBackend, mostMs: number): Promise<string | undefined> {
  // What the store says is of some moment between these.
  const before = Date.now();
  const there = await backend.now();
  const after = Date.now();
  const ahead = before - there > mostMs ? before - there : there - after > mostMs ? after - there : 0;
  if (ahead === 0) return undefined;
  return (
    `this machine's clock must be within ${(mostMs / 1000).toFixed(1)} s of the queue's, got one that is ` +
    `${(Math.abs(ahead) / 1000).toFixed(1)} s ${ahead > 0 ? "ahead" : "behind"}; set it, by NTP for instance (\`timedatectl set-ntp true\`)`
  );
}
