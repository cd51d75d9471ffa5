/** The files of a folder that may be films or pictures, by path. What they are is told by their content, later. */
import { type Stats, statSync } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { systemWords } from "../../platform/system-error.ts";

export interface FoundFile {
  /** From the folder, with slashes. */
  readonly path: string;
  readonly full: string;
  readonly bytes: number;
  /** When it was changed, in milliseconds. */
  readonly changed: number;
  /** Why it cannot be looked at. */
  readonly error?: string;
}

/** Texts that lie beside films; nobody takes them for one. */
const BESIDE = /\.(txt|json|jsonl|csv|tsv|parquet|md|srt|vtt|ass|sub|nfo|xml|ya?ml|html?|url|log|part|db|ds_store|sha256|md5)$/i;

function factsOf(path: string): Stats | Error {
  try {
    return statSync(path);
  } catch (error) {
    return error as Error;
  }
}

/** @param without a folder within it that is left out: the data set's own. Throws where the folder is none. */
export async function filesIn(folder: string, without: string | undefined): Promise<FoundFile[]> {
  const found: FoundFile[] = [];
  const left = without === undefined ? undefined : resolve(without);
  const walk = async (at: string, path: string): Promise<void> => {
    let names: string[];
    try {
      names = (await readdir(at)).sort();
    } catch (error) {
      if (path === "")
        throw new CogwheelError("scan", `the videos must be a folder that can be read, got ${at}: ${systemWords(error)}; check the path`);
      found.push({ path, full: at, bytes: 0, changed: 0, error: `a folder that cannot be read: ${systemWords(error)}` });
      return;
    }
    for (const name of names) {
      const full = join(at, name);
      const own = path === "" ? name : `${path}/${name}`;
      if (name.startsWith(".") || full === left || (left && `${full}${sep}` === `${left}${sep}`)) continue;
      const facts = factsOf(full);
      if (facts instanceof Error) {
        found.push({ path: own, full, bytes: 0, changed: 0, error: systemWords(facts) });
        continue;
      }
      if (facts.isDirectory()) {
        // A link to a folder may lead in a circle.
        if (!(await lstat(full)).isSymbolicLink()) await walk(full, own);
      } else if (!facts.isFile()) {
        found.push({ path: own, full, bytes: 0, changed: 0, error: "a device or a pipe, which may never end" });
      } else if (!BESIDE.test(name)) {
        found.push({ path: own, full, bytes: facts.size, changed: facts.mtimeMs });
      }
    }
  };
  await walk(folder, "");
  return found;
}
