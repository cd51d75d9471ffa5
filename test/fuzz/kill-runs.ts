/**
 * Runs of a command that are killed (SIGKILL) and gone on with, again and again, at random moments and before chosen calls that change a
 * file. In the end each must have come to what the run that nothing killed came to, and have left nothing behind.
 */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Killed, KillOptions } from "../support/kill.ts";
import { type FuzzOptions, inputs, type Tally } from "./kind.ts";

/** One of so many is killed before a chosen call, the others at a random moment. */
const CHOSEN = 3;

export interface KilledRuns {
  /** Where runs have their folders. */
  readonly place: string;
  /** Kills of one run, after which it may end. */
  readonly killsARun: number;
  /** Shares of a whole run's time between which it is killed at random. */
  readonly moments: readonly [least: number, most: number];
  /** Begins the run of a folder, or goes on with it. */
  start(out: string, when?: KillOptions): Promise<Killed>;
  /** What is wrong with a run that came to its end; undefined where nothing is. */
  wrong(out: string): string | undefined;
}

/** Ends a run that must succeed. */
export function expectEnded({ code, text }: Killed): void {
  if (code !== 0) throw new Error(`a run must succeed when nothing kills it, got exit code ${code}: ${text.slice(-800)}`);
}

export async function killRuns({ place, killsARun, moments, start, wrong }: KilledRuns, options: FuzzOptions, tally: Tally): Promise<void> {
  const counted = join(place, "counted");
  mkdirSync(counted);
  const { ms } = await start(counted, { env: { KILL_COUNT: join(place, "calls") }, at: { call: 0, folder: counted } });
  const calls = Number(readFileSync(join(place, "calls"), "utf8").trim().split("\n").at(-1));

  let out = "";
  let killed = 0;
  const all = [...inputs(options)];
  for (const [i, { index, seed, draw }] of all.entries()) {
    if (i % killsARun === 0) {
      out = join(place, `run-${index}`);
      mkdirSync(out);
    }
    // What is left of a run is shorter each time.
    const left = 1 - (i % killsARun) / (killsARun + 2);
    const when =
      index % CHOSEN === CHOSEN - 1
        ? { at: { call: 1 + Math.floor(draw() * calls * left), folder: out } }
        : { after: Math.round(ms * left * (moments[0] + (moments[1] - moments[0]) * draw())) };
    const input =
      `seed ${options.seed}, index ${index} (${seed}): ` +
      `killed ${"after" in when ? `after ${when.after} of ${Math.round(ms)} ms` : `before call ${when.at.call} of ${calls}`}`;
    const ended = await start(out, when);
    if (ended.signal === "SIGKILL") killed++;
    else if (ended.code !== 0) {
      tally.add(ended.signal ? "hang" : "foreign error", input, ended.text.slice(-800));
      continue;
    }
    if (i % killsARun < killsARun - 1 && i < all.length - 1) {
      tally.add("read", input);
      continue;
    }
    const last = await start(out);
    const fault = last.code === 0 ? wrong(out) : undefined;
    if (last.code !== 0) tally.add(last.signal ? "hang" : "death", input, `the last run: ${last.text.slice(-800)}`);
    else if (fault !== undefined) tally.add("silent wrong", input, fault);
    else tally.add("read", input);
    rmSync(out, { recursive: true, force: true });
  }
  options.log(`${killed} of ${all.length} were killed before their end`);
}
