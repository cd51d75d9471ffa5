/** A queue of generations by one worker, then by two, each of one thread of the machine: how much faster two are. */
import { cpus } from "node:os";
import { join } from "node:path";
import type { Proof } from "./state.ts";
import { withWorkers } from "./workers.ts";

/** Two workers, of a thread each, do at least so many times as much as one. */
const FASTER = 1.8;
/** One and two take turns, so that a machine that becomes slower or faster meanwhile is seen. */
const ROUNDS = 2;
const request = {
  kind: "text",
  ...{ model: "moving-shapes", prompt: "a red circle moving left", width: 64, height: 64, frames: 9, steps: 10, seed: 5 },
} as const;

interface Timed {
  readonly seconds: number;
  /** Cores of the machine that were busy, with whatever. */
  readonly busy: number;
}

function processorSeconds(): number {
  return cpus().reduce((sum, { times: { user, nice, sys, irq } }) => sum + (user + nice + sys + irq) / 1000, 0);
}

/** What so many workers take for so many jobs, once each has its pipelines. */
const timed = (queue: string, workers: number, jobs: number, signal: AbortSignal): Promise<Timed> =>
  withWorkers(queue, workers, signal, async ({ make }) => {
    const some = (count: number) => Array.from({ length: count }, () => request);
    await make(some(3 * workers));
    const [began, before] = [performance.now(), processorSeconds()];
    await make(some(jobs));
    const seconds = (performance.now() - began) / 1000;
    return { seconds, busy: (processorSeconds() - before) / seconds };
  });

/** @param jobs by one worker, and by two @param folder for queues of its own */
export async function speed(jobs: number, folder: string, signal: AbortSignal, say: (line: string) => void): Promise<Proof> {
  const share = Math.ceil(jobs / ROUNDS);
  const [one, two] = [[] as Timed[], [] as Timed[]];
  for (let round = 0; round < ROUNDS; round++)
    for (const [workers, times] of [
      [1, one],
      [2, two],
    ] as const) {
      const time = await timed(join(folder, `by-${workers}-${round}-${process.pid}`), workers, share, signal);
      times.push(time);
      say(`${share} jobs by ${workers}: ${time.seconds.toFixed(1)} s, ${time.busy.toFixed(2)} of ${cpus().length} cores busy`);
    }
  const whole = (times: readonly Timed[]): number => times.reduce((sum, { seconds }) => sum + seconds, 0);
  const factor = whole(one) / whole(two);
  const words =
    `${ROUNDS * share} jobs by one worker: ${whole(one).toFixed(1)} s; by two: ${whole(two).toFixed(1)} s, ` +
    `${factor.toFixed(2)} times as fast`;
  const rule = `two workers must do ${FASTER} times as much as one, got ${factor.toFixed(2)}; run it on idle cores`;
  return { problems: factor < FASTER ? [rule] : [], words };
}
