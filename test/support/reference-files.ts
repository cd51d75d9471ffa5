/** The committed reference cases, as paths from test/reference/cases. */
import { readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const FOLDER = join(import.meta.dirname, "../reference/cases");

/**
 * @param aClass the most of each class: the first, the last, and what lies evenly between them by name
 * @param part "1/2" is the first of two parts of these files, which together are all of them: every other one
 */
export function referenceFiles(aClass = Infinity, part = "1/1"): string[] {
  if (!(aClass >= 2)) throw new Error(`COGWHEEL_CASES_A_CLASS must be a number of 2 or more, got ${aClass}`);
  const [nth, parts] = /^\d+\/\d+$/.test(part) ? part.split("/").map(Number) : [];
  if (!nth || !parts || nth > parts)
    throw new Error(`COGWHEEL_CASES_PART must be a part and how many there are, such as 1/2, got "${part}"`);
  const all = readdirSync(FOLDER, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".safetensors"))
    .map((entry) => relative(FOLDER, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .sort();
  const chosen = [...new Set(all.map(dirname))].flatMap((name) => {
    const list = all.filter((file) => dirname(file) === name);
    if (list.length <= aClass) return list;
    return Array.from({ length: aClass }, (_, i) => list[Math.round((i * (list.length - 1)) / (aClass - 1))]!);
  });
  return chosen.filter((_, i) => i % parts === nth - 1);
}
