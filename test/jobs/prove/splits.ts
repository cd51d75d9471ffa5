/** One job on two workers: what is moved and how long devices wait, against the plan, and the bytes of one worker that computes it so. */
import { join } from "node:path";
import type { Job, JobSplit } from "../../../src/jobs/job.ts";
import type { Proof } from "./state.ts";
import { withWorkers } from "./workers.ts";

const request = { kind: "text", model: "moving-shapes", prompt: "a red circle moving left", frames: 49, guidance: 4, seed: 5 } as const;
/** Each large enough that two pay: workers go on alone otherwise. */
const SPLITS: readonly { readonly split: JobSplit; readonly width: number; readonly height: number; readonly steps: number }[] = [
  { split: "guidance", width: 64, height: 64, steps: 100 },
  { split: "vae-time", width: 128, height: 128, steps: 2 },
  { split: "vae-space", width: 128, height: 128, steps: 2 },
];
/** Of the plan. */
const OFF = 0.05;

interface Shared {
  readonly bytes: number;
  readonly plannedBytes: number;
  readonly seconds: number;
  readonly waitingSeconds: number;
  /** Of `seconds`, as the leader's last line plans it. */
  readonly plannedWaiting: number;
}

/** What was shared of a job, with what was planned for it. @param said by the workers */
function sharedOf({ id, shared, sharedClips = [] }: Job, said: string): Shared | undefined {
  const last = (line: RegExp): RegExpExecArray | undefined => [...said.matchAll(line)].at(-1);
  if (!shared) {
    const found = last(new RegExp(`${id}: to (?:en|de)code .* they exchange .* turns, ([\\d.]+) s(?:, and wait ([\\d.]+) %)?`, "g"));
    const [clip] = sharedClips;
    if (!clip || !found) return undefined;
    const [exchange, uneven] = [Number(found[1]), Number(found[2] ?? 0) / 100];
    // Work, its share of waiting, and the exchange are the whole.
    return { ...clip, plannedWaiting: (exchange + ((clip.seconds - exchange) * uneven) / (1 + uneven)) / clip.seconds };
  }
  // The plan's exchange, each way a step, as its line tells it.
  const found = last(new RegExp(`${id}: a step alone .* \\(([\\d.]+) %\\) to exchange ([\\d.]+) (B|kB|MB) each way`, "g"));
  if (!found) return undefined;
  const [, percent, amount, unit] = found;
  const each = Number(amount) * { B: 1, kB: 1e3, MB: 1e6 }[unit as "B" | "kB" | "MB"];
  return { ...shared, plannedBytes: 2 * each * shared.steps, plannedWaiting: Number(percent) / 100 };
}

/** @param folder for queues of its own */
export async function splits(folder: string, signal: AbortSignal, say: (line: string) => void): Promise<Proof> {
  const problems: string[] = [];
  const told: string[] = [];
  const requests = SPLITS.map((one) => ({ ...request, ...one }));
  const alone = await withWorkers(join(folder, `alone-${process.pid}`), 1, signal, async ({ make }) => await make(requests));
  await withWorkers(join(folder, `two-${process.pid}`), 2, signal, async ({ make, said }) => {
    for (const [at, one] of requests.entries()) {
      // The first one warms both up; of three the middle one tells how unevenly they work.
      for (let n = 0; n < 3; n++) await make([one]);
      const job = (await make([one]))[0]!;
      const shared = sharedOf(job, said());
      const same = job.output!.digest === alone[at]!.output!.digest;
      if (!same) problems.push(`${one.split}: two workers must give the bytes of one, got others`);
      if (!shared) {
        problems.push(`${one.split}: two workers must share it, got that it was made alone: ${said().split("\n").slice(-6).join(" / ")}`);
        continue;
      }
      const off = shared.bytes / shared.plannedBytes - 1;
      if (Math.abs(off) > OFF)
        problems.push(`${one.split}: it must move what was planned, ${shared.plannedBytes} bytes, within 5 %, got ${shared.bytes}`);
      const waited = shared.waitingSeconds / shared.seconds;
      if (Math.abs(waited - shared.plannedWaiting) > OFF)
        problems.push(
          `${one.split}: devices must wait as planned, ${(100 * shared.plannedWaiting).toFixed(0)} % of the time within 5, ` +
            `got ${(100 * waited).toFixed(0)} %; run it on idle cores`,
        );
      const words =
        `${one.split}: ${(shared.bytes / 1e6).toFixed(2)} MB moved, ${(100 * off).toFixed(1)} % off the plan, ` +
        `${(100 * waited).toFixed(0)} % of ${shared.seconds.toFixed(1)} s waited ` +
        `(planned ${(100 * shared.plannedWaiting).toFixed(0)} %), ` +
        (same ? "the bytes of one worker" : "OTHER BYTES");
      say(words);
      told.push(words);
    }
    if (/MaxListenersExceeded/.test(said())) problems.push("a worker must have no leak of listeners, got Node's warning of one");
  });
  return { problems, words: told.join("; ") };
}
