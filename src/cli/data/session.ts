/** What the commands of `cogwheel data` share: a curation with its lock, progress, Ctrl-C, and how it ends. */
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { checkWritable } from "#platform";
import { Curation, WORK_FOLDER } from "../../curation/curate-node.ts";
import type { ShotNetwork } from "../../curation/cuts/network.ts";
import { RunLock } from "../run-lock.ts";
import { interruptible, Interrupted } from "../terminal/interrupt.ts";
import { Progress } from "../terminal/progress.ts";
import type { DataConfig } from "./config.ts";

/** Of a run in which something was refused or failed: the rest is done all the same. */
export const SOME_FAILED = 3;

/** What processes that were killed left of their attempts to take the lock. */
async function sweepLocks(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!/^lock\..*\.tmp$/.test(name)) continue;
    const path = join(folder, name);
    const { mtimeMs = Number.POSITIVE_INFINITY } = (await stat(path).catch(() => undefined)) ?? {};
    // One that is new may be of a process that asks for it right now.
    if (Date.now() - mtimeMs > 60_000) await rm(path, { force: true });
  }
}

/** Does work with a curation that nobody else works on. */
export async function withCuration<Result>(
  config: DataConfig,
  work: (curation: Curation, note: (message: string) => void) => Promise<Result>,
): Promise<Result> {
  const folder = join(config.out, WORK_FOLDER);
  await checkWritable(join(config.out, "metadata.jsonl"), "file", "--out");
  await mkdir(folder, { recursive: true });
  await using _lock = await RunLock.take(join(folder, "lock"));
  await sweepLocks(folder);
  using progress = new Progress();
  using interruption = interruptible((message) => progress.note(message));
  const { signal } = interruption;
  const { transnet, ...options } = config;
  const run = async (network?: ShotNetwork): Promise<Result> => {
    await using curation = await Curation.open({
      ...options,
      ...(network ? { network } : {}),
      signal,
      onProgress: (stage, done, detail) => progress.report(stage, done, detail),
    });
    if (curation.ledger.broken)
      progress.note(`[data] ${curation.ledger.broken} lines of the ledger cannot be read: their work is done again`);
    return await work(curation, (message) => progress.note(message));
  };
  try {
    if (transnet === undefined) return await run();
    // What computes is loaded for this alone.
    return await (await import("./transnet.ts")).withShotNetwork(transnet, run);
  } catch (error) {
    throw signal.aborted && signal.reason instanceof Interrupted ? signal.reason : error;
  }
}
