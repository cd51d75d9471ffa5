/** Where a device's table of measurements comes from, and where it is kept. */
import { namedTuning, readTuning, writeTuning } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import { parseTuning, tuningFile, whyStale, type TuningHeader, type TuningTable } from "./tuning-table.ts";

/** The table of measurements that a device chooses kernels by. */
export interface Tuning {
  readonly table: TuningTable;
  /** The file it came from; none for an app's own. */
  readonly path: string | undefined;
}

interface Asked {
  /** A table, or none whatever is stored. Default: what the environment names, else what is stored. */
  tuning?: TuningTable | false;
  onWarning?: (message: string) => void;
}

/** The table that was asked for or stored, if it holds for this device; else a warning says why not. */
export async function findTuning(here: TuningHeader, { tuning, onWarning }: Asked): Promise<Tuning | undefined> {
  if (tuning === false) return undefined;
  if (tuning !== undefined) {
    const table = parseTuning(tuning);
    const stale = whyStale(table, here);
    if (stale === undefined) return { table, path: undefined };
    onWarning?.(`[tuning] the table is not used: ${stale}; measure again`);
    return undefined;
  }
  let path: string | undefined;
  try {
    const named = await namedTuning();
    const found = named ?? (await readTuning(tuningFile(here)));
    if (found === undefined || found === "off") return undefined;
    ({ path } = found);
    const table = parseTuning(found.text);
    const stale = whyStale(table, here);
    if (stale === undefined) return { table, path };
    onWarning?.(`[tuning] ${path} is not used: ${stale}; run \`cogwheel tune\` again`);
  } catch (error) {
    // What is broken on disk must not keep anybody from a video.
    if (!(error instanceof CogwheelError)) throw error;
    onWarning?.(path === undefined ? error.message : `[tuning] ${path} is not used: ${error.message.replace(/^\[tuning\] /, "")}`);
  }
  return undefined;
}

/** Keeps the choices for this device, with those of other models that still hold; resolves to where. */
export async function storeTuning(table: TuningTable): Promise<string> {
  const file = tuningFile(table);
  let kept: TuningTable["choices"] = {};
  try {
    const stored = await readTuning(file);
    const before = stored && parseTuning(stored.text);
    if (before && whyStale(before, table) === undefined) kept = before.choices;
  } catch (error) {
    if (!(error instanceof CogwheelError)) throw error; // a broken one is written anew
  }
  const choices = Object.fromEntries(Object.entries({ ...kept, ...table.choices }).sort(([a], [b]) => (a < b ? -1 : 1)));
  return await writeTuning(file, `${JSON.stringify({ ...table, choices }, null, 2)}\n`);
}
