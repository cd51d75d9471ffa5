/** Training over worker processes of this machine: the bytes of virtual workers, and what one's end does to the others. */
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import type { TrainVaeOptions } from "../../../src/training/vae/options.ts";
import { trainVae } from "../../../src/training/vae/train-vae.ts";
import { TrainingProcesses } from "../../../src/training/vae/workers/processes-node.ts";
import { isAlive } from "../../support/bare.ts";
import { clips, taken, tinyVae } from "../../support/vae-training.ts";

/** The worker processes that this one has started and that still run, in their order. */
const running = (): number[] =>
  execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat=,args="], { encoding: "utf8" })
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(
      ([, parent, state, ...args]) =>
        Number(parent) === process.pid && !state!.startsWith("Z") && /cogwheel-train-worker/.test(args.join(" ")),
    )
    .map(([pid]) => Number(pid));

test("two processes have the bytes of a virtual worker; one that dies ends the other, is named, and the run goes on", {
  timeout: 120_000,
}, async () => {
  const vae = await tinyVae();
  const data = clips(vae, 2, [9, 8, 8]);
  const options: TrainVaeOptions = { part: "both", steps: 3, accumulation: 2, seed: 3, optimizer: { lr: 1e-3 } };
  const whole = await taken(vae, data, { ...options, workers: 1 });
  const processes = () => new TrainingProcesses([{}, {}], {});
  let saved!: Uint8Array;
  {
    using workers = processes();
    await using run = trainVae(vae, data, { ...options, workers });
    const steps = run[Symbol.asyncIterator]();
    const { value: step } = await steps.next();
    expect(step!.workers!.map(({ worker, haloBytes }) => [worker, haloBytes > 0])).toEqual([
      [0, true],
      [1, true],
    ]);
    saved = await run.save();
    const pids = running();
    expect(pids.length).toBe(2);
    const next = steps.next();
    process.kill(pids[1]!, "SIGKILL");
    const killed = performance.now();
    await expect(next).rejects.toThrow(
      "[vae] worker 2 of 2 must live until the clip is done, got its end with SIGKILL; the others were ended",
    );
    while (pids.some(isAlive) && performance.now() - killed < 10_000) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(performance.now() - killed).toBeLessThan(5000);
  }
  using workers = processes();
  expect((await taken(vae, data, { ...options, workers, resume: saved })).saved).toEqual(whole.saved);
});
