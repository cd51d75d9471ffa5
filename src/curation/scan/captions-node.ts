/**
 * Captions that people wrote: in `metadata.jsonl` of the folder of videos (`file_name` and `text`, `caption` or `prompt`), or in a text of
 * the same name beside a video. They are of all clips of it. A caption becomes one line.
 */
import { statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { parseJsonObject } from "../../base/json-scan.ts";

const NAMES = ["text", "caption", "prompt"];
/** A caption is no book. */
const MOST_BYTES = 65_536;

export const oneLine = (text: string): string => text.replace(/\s+/g, " ").trim();

/** By a source's path; sources without one are not there. @param paths of sources, from the folder */
export async function handCaptions(folder: string, paths: readonly string[]): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const metadata = await readFile(join(folder, "metadata.jsonl"), "utf8").catch(() => "");
  for (const [i, line] of metadata
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .entries()) {
    if (line.trim() === "") continue;
    const row = parseJsonObject(
      line,
      (rule) => new CogwheelError("data", `line ${i + 1} of ${join(folder, "metadata.jsonl")} ${rule}; correct the line`),
    );
    const text = NAMES.map((name) => row[name]).find((value) => typeof value === "string" && value.trim() !== "");
    if (typeof row["file_name"] === "string" && text !== undefined) found.set(row["file_name"], oneLine(text as string));
  }
  for (const path of paths) {
    const beside = join(folder, path.replace(/\.[^./]*$/, "") + ".txt");
    const facts = statSync(beside, { throwIfNoEntry: false });
    if (!facts?.isFile() || facts.size > MOST_BYTES) continue;
    const text = oneLine(await readFile(beside, "utf8"));
    if (text !== "") found.set(path, text);
  }
  return found;
}
