/**
 * `npm run jobs:prove [PART …]`, by default all of them, one after another:
 *
 *   kills     200 jobs, four workers each killed -9 ten times, the server and nats-server five times each
 *   cluster   jobs on a cluster of three whose leader is killed
 *   splits    a job on two workers, by guidance and by the VAE's clip: bytes moved, waiting, result
 *   overhead  what a queue adds to a generation
 *   speed     50 jobs by one worker and by two
 *
 *   npm run jobs:prove -- kills --state FOLDER --minutes 4
 *
 * keeps what is done in a folder, and ends after so long, or by Ctrl-C: the same command goes on from there, and does no part again that is
 * done. Prints what each part found. Exit code: 0; 1 where something is not as it must be; 3 where time was over before all was done.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { natsServer, startCluster, startNats } from "../../support/nats-server.ts";
import { killLeader } from "./leader.ts";
import { overhead } from "./overhead.ts";
import { prove } from "./prove.ts";
import { speed } from "./speed.ts";
import { splits } from "./splits.ts";
import { type KillState, Kept, noKills, OutOfTime, type Proof } from "./state.ts";

const number = (value: string): { type: "string"; default: string } => ({ type: "string", default: value });
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    state: { type: "string" },
    minutes: number("Infinity"),
    jobs: number("200"),
    workers: number("4"),
    kills: number("10"),
    "server-kills": number("5"),
    "cluster-jobs": number("40"),
    "cluster-kills": number("3"),
    "speed-jobs": number("50"),
    pairs: number("25"),
  },
});
const of = (name: Exclude<keyof typeof values, "state">): number => {
  const value = Number(values[name]);
  if (!(value >= 0)) throw new Error(`--${name} must be a number from 0, got ${values[name]}`);
  return value;
};

const folder = values.state === undefined ? await mkdtemp(join(tmpdir(), "cogwheel-prove-")) : resolve(values.state);
await mkdir(folder, { recursive: true });
const stop = new AbortController();
const minutes = of("minutes");
if (Number.isFinite(minutes)) setTimeout(() => stop.abort(new OutOfTime("its minutes are over")), 60_000 * minutes).unref();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort(new OutOfTime(signal)));
const say = (line: string): void => console.log(line);
const sizes = { jobs: of("jobs"), workers: of("workers"), kills: of("kills"), serverKills: of("server-kills") };
/** Before it is needed: a part that cannot have one says why. */
const nats = await natsServer();

async function killed(name: string, those: typeof sizes, queue: string, restart: () => Promise<void>): Promise<Proof> {
  const kept = await Kept.open<KillState>(folder, `${name}-so-far`, noKills());
  return await prove(those, queue, restart, { say, kept, until: stop.signal });
}

const server = (): string => {
  if (nats instanceof Error) throw nats;
  return nats;
};
const PARTS: Readonly<Record<string, () => Promise<Proof>>> = {
  async kills() {
    await using one = await startNats(server(), join(folder, "one"));
    return await killed("kills", sizes, one.url, () => one.restart(Math.random() * 2000));
  },
  async cluster() {
    await using cluster = await startCluster(server(), join(folder, "cluster"));
    const those = { ...sizes, jobs: of("cluster-jobs"), kills: Math.min(2, sizes.kills), serverKills: of("cluster-kills") };
    const { problems, words } = await killed("cluster", those, cluster.url, () => killLeader(cluster, say));
    return { problems, words: `On a cluster of three, whose leader is killed in place of the server: ${words}` };
  },
  splits: () => splits(join(folder, "splits"), stop.signal, say),
  overhead: () => overhead(of("pairs"), join(folder, "overhead"), nats instanceof Error ? undefined : nats, say),
  speed: () => speed(of("speed-jobs"), join(folder, "speed"), stop.signal, say),
};
const unknown = positionals.find((part) => !Object.hasOwn(PARTS, part));
if (unknown !== undefined) throw new Error(`a part must be one of ${Object.keys(PARTS).join(", ")}, got ${unknown}`);

const parts = await Kept.open<Record<string, Proof>>(folder, "parts", {});
let unfinished = false;
try {
  for (const part of positionals.length ? positionals : Object.keys(PARTS)) {
    let proof = parts.value[part];
    if (!proof) {
      stop.signal.throwIfAborted();
      proof = await PARTS[part]!();
      parts.value[part] = proof;
      await parts.save();
    }
    say(`${part}: ${proof.words}`);
    for (const problem of proof.problems) say(`${part}: NOT SO: ${problem}`);
    if (proof.problems.length) process.exitCode = 1;
  }
} catch (error) {
  if (!stop.signal.aborted) throw error;
  unfinished = true;
  const reached = error instanceof OutOfTime ? error.message : String(error);
  say(`${reached}: not all is done; ${values.state === undefined ? "with --state FOLDER it could be gone on with" : "run it again"}`);
  process.exitCode ||= 3;
} finally {
  if (values.state === undefined) await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  else if (!unfinished) say(`${folder} has what was found; it may be deleted`);
}
