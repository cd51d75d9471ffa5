/**
 * Jobs while everything that works on them is killed -9 at random: workers, the server that takes requests, the NATS server, the leader of
 * a cluster. Each job must have one result, with the bytes of an undisturbed run, and no step that was saved may be done again.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { resolve } from "node:path";
import { linkedAbort } from "../../../src/base/linked-abort.ts";
import { pause } from "../../../src/base/pause.ts";
import { sha256 } from "../../../src/base/sha256.ts";
import { embedsBlob, stateBlob } from "../../../src/jobs/job.ts";
import { openJobs } from "../../../src/jobs/open-node.ts";
import { isOver, JobStore } from "../../../src/jobs/store.ts";
import { CogVideoX } from "../../../src/pipelines/cogvideox/pipeline.ts";
import { encodeVideo } from "../../../src/video/encode.ts";
import { freePort } from "../../support/nats-server.ts";
import { type KillState, type Kept, noKills, OutOfTime, type Proof } from "./state.ts";

export interface ProveSizes {
  readonly jobs: number;
  readonly workers: number;
  /** Of each worker. */
  readonly kills: number;
  /** Of the server that takes the requests, and of what is behind `restart`. */
  readonly serverKills: number;
}

const LAUNCH = resolve("dist/launch.js");
const MODEL = resolve("models/moving-shapes");
/** Different jobs; all others are like one of these. */
const KINDS = [0, 1, 2].map((seed) => ({ prompt: "a red circle moving left", seed, width: 32, height: 32, frames: 9, steps: 5 }));
/** A worker that is not heard of for so long is done without. */
const LEASE_S = 2;
/** Longer than NATS waits for who took a hint. */
const LEFT_MS = 60_000;

/** What a job of each kind gives when nothing disturbs it. */
async function undisturbed(): Promise<string[]> {
  await using model = await CogVideoX.open(MODEL);
  const digests: string[] = [];
  for (const kind of KINDS) {
    const { frames, settings, made } = await model.generate(kind);
    digests.push(await sha256(await encodeVideo(frames, { format: "mp4", fps: settings.fps, made })));
  }
  return digests;
}

/** A command that is started again whenever it ends, until `signal` aborts. */
class Restarted {
  child: ChildProcess | undefined;
  /** Of the process that runs now. */
  said = "";
  readonly ended: Promise<void>;

  constructor(
    private readonly args: readonly string[],
    signal: AbortSignal,
    private readonly onLine: (line: string) => void = () => undefined,
  ) {
    this.ended = this.#run(signal);
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // A group of its own, which ends whole: the launcher starts others.
      const env = { ...process.env, LP_NUM_THREADS: "1" };
      const child = spawn(process.execPath, [LAUNCH, ...this.args], { detached: true, env, stdio: ["ignore", "pipe", "pipe"] });
      this.child = child;
      this.said = "";
      let line = "";
      for (const stream of [child.stdout, child.stderr])
        stream.on("data", (part: Buffer) => {
          this.said += part.toString();
          const lines = (line + part.toString()).split("\n");
          line = lines.pop()!;
          for (const one of lines) this.onLine(one);
        });
      const closed = new Promise<void>((done) => child.on("close", () => done()));
      const stop = (): void => this.#signal("SIGKILL");
      signal.addEventListener("abort", stop, { once: true });
      await closed;
      signal.removeEventListener("abort", stop);
      await pause(100, signal).catch(() => undefined);
    }
  }

  #signal(name: NodeJS.Signals): void {
    try {
      process.kill(-this.child!.pid!, name);
    } catch {
      // it has ended
    }
  }

  /** Kills what runs now. */
  kill(): void {
    this.#signal("SIGKILL");
  }
}

export interface ProveOptions {
  /** Told how far it is. */
  readonly say?: (line: string) => void;
  /** Where it goes on from, and what is kept of it. Default: it begins, and nothing is kept. */
  readonly kept?: Pick<Kept<KillState>, "value" | "save">;
  /** Ends it early: it throws {@link OutOfTime}. */
  readonly until?: AbortSignal;
}

/** @param queue address of the queue, which `restart` kills and starts again, some way into the run */
export async function prove(
  { jobs, workers, kills, serverKills }: ProveSizes,
  queue: string,
  restart: (backend: JobStore["backend"]) => Promise<void>,
  { say = () => undefined, kept = { value: noKills(), save: async () => undefined }, until }: ProveOptions = {},
): Promise<Proof> {
  const state = kept.value;
  const whole = (state.whole ??= await undisturbed());
  const before = state.seconds;
  const began = performance.now();
  const { problems, saved, done } = state;
  using run = linkedAbort(until);
  const { signal } = run;
  await using backend = await openJobs(queue);
  const store = new JobStore(backend);
  const port = await freePort();
  const server = new Restarted(["serve", "--queue", queue, "--no-worker", "--port", String(port)], signal);

  const onLine = (line: string): void => {
    const [, id, from] = /^(video_\w+): (?:goes on from step (\d+)|begins|goes on from its prompt)/.exec(line) ?? [];
    if (id) {
      const before = saved[id] ?? 0;
      const step = Number(from ?? 0);
      if (from) state.goneOn++;
      if (step < before) {
        state.again += before - step;
        problems.push(`${id}: step ${before} was saved, and a worker goes on from ${step}`);
      }
    }
    const [, finished] = /^(video_\w+): done in/.exec(line) ?? [];
    if (finished) done[finished] = (done[finished] ?? 0) + 1;
  };
  const working = Array.from(
    { length: workers },
    () => new Restarted(["worker", "--queue", queue, "--lease", String(LEASE_S)], signal, onLine),
  );

  /** Calls the server until it answers: it is killed meanwhile. */
  const ask = async <T>(path: string, read: (answer: Response) => Promise<T>, init?: RequestInit): Promise<T> => {
    for (let tries = 0; ; tries++) {
      try {
        const answer = await fetch(`http://127.0.0.1:${port}${path}`, { ...init, signal: AbortSignal.timeout(30_000) });
        if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
        return await read(answer);
      } catch (error) {
        // What a server was killed over counts as being answered for two minutes.
        if (tries > 600) throw error;
        await pause(300, signal);
      }
    }
  };
  /** The same request twice is one job, so that a client may ask again when a server died before it answered. */
  const create = async (n: number): Promise<string> => {
    const { prompt, seed, width, height, frames, steps } = KINDS[n % KINDS.length]!;
    const body = JSON.stringify({ prompt, seed, width, height, num_frames: frames, num_inference_steps: steps });
    const headers = { "content-type": "application/json", "idempotency-key": `job-${n}` };
    return await ask("/v1/videos", async (answer) => ((await answer.json()) as { id: string }).id, { method: "POST", headers, body });
  };

  const ids: string[] = [];
  const creating = (async () => {
    for (let n = 0; n < jobs; n++) ids.push(await create(n));
  })();
  const finished = async (): Promise<number> => {
    let over = 0;
    for (const id of ids) if (isOver((await store.get(id)) ?? { status: "queued" })) over++;
    return over;
  };
  const some = (most: number): Promise<void> => pause(Math.random() * most, signal);
  /** Kills a worker a while after it took a job, or while it starts. */
  const killing = working.map(async (worker, which) => {
    while ((state.kills[which] ??= 0) < kills) {
      if (Math.random() < 0.2) await some(3000);
      else {
        while (!/: (goes on|begins)/.test(worker.said)) await pause(50, signal);
        await some(1500);
      }
      const pid = worker.child!.pid!;
      const [, name] = /Worker (\S+) takes/.exec(worker.said) ?? [];
      worker.kill();
      state.kills[which]!++;
      const mine = async (id: string): Promise<void> => {
        const job = await store.get(id);
        if (job && name && job.lease?.worker === name) saved[id] = job.step;
      };
      await Promise.all(ids.map(mine));
      await kept.save();
      while (worker.child?.pid === pid) await pause(50, signal);
    }
  });
  const killServers = (async () => {
    while (state.serverKills < serverKills) {
      await some(6000);
      server.kill();
      await some(6000);
      await restart(backend);
      state.serverKills++;
      await kept.save();
    }
  })();
  const progress = (async () => {
    for (;;) {
      await pause(10_000, signal);
      state.seconds = before + (performance.now() - began) / 1000;
      await kept.save();
      say(`${await finished()} of ${jobs} jobs are done, ${state.kills.reduce((sum, n) => sum + n, 0)} workers were killed`);
    }
  })().catch(() => undefined);
  try {
    await Promise.all([creating, ...killing, killServers]);
    while ((await finished()) < jobs) await pause(300, signal);
    const seconds = before + (performance.now() - began) / 1000;
    const all = await store.ids();
    if (new Set(ids).size !== jobs || all.length !== jobs)
      problems.push(`${jobs} requests must be ${jobs} jobs, got ${new Set(ids).size} ids and ${all.length} jobs`);
    // What a killed worker left of a job that it had ended goes when its hint is given to another.
    const patience = performance.now() + LEFT_MS;
    const isGone = async (blob: string): Promise<boolean> => {
      while ((await backend.blobs.size(blob)) !== undefined) {
        if (performance.now() > patience) return false;
        await pause(300, signal);
      }
      return true;
    };
    let attempts = 0;
    for (const [n, id] of ids.entries()) {
      const job = (await store.get(id))!;
      attempts += job.attempts;
      if (job.status !== "completed") problems.push(`${id} is ${job.status}: ${job.error?.message}`);
      else if (
        (await ask(`/v1/videos/${id}/content`, async (answer) => sha256(new Uint8Array(await answer.arrayBuffer())))) !==
        whole[n % KINDS.length]
      )
        problems.push(`${id} has other bytes than an undisturbed run`);
      if ((done[id] ?? 0) > 1) problems.push(`${id} was done ${done[id]} times`);
      for (const blob of [stateBlob(id), embedsBlob(id)]) if (!(await isGone(blob))) problems.push(`${blob} is left`);
    }
    const words =
      `${jobs} jobs in ${seconds.toFixed(0)} s by ${workers} workers, each killed ${kills} times; server and queue killed ` +
      `${serverKills} times each; begun ${attempts} times, ${state.goneOn} of them from a saved step, ` +
      `${state.again} saved steps done again`;
    return { problems, words };
  } catch (error) {
    if (!until?.aborted) throw error;
    state.seconds = before + (performance.now() - began) / 1000;
    await kept.save();
    const over = await finished().catch(() => Number.NaN);
    throw new OutOfTime(`${over} of ${jobs} jobs are done, ${state.kills.reduce((sum, n) => sum + n, 0)} workers were killed`);
  } finally {
    run.abort();
    await Promise.allSettled([server.ended, ...working.map(({ ended }) => ended), progress, creating, killServers, ...killing]);
  }
}
