/** The committed reference cases, as paths from test/reference/cases. */
import { readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const FOLDER = join(import.meta.dirname, "../reference/cases");

/** @param aClass the most of each class: the first, the last, and what lies evenly between them by name */
export function referenceFiles(aClass = Infinity): string[] {
  if (!(aClass >= 2)) throw new Error(`COGWHEEL_CASES_A_CLASS must be a number of 2 or more, got ${aClass}`);
  const all = readdirSync(FOLDER, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".safetensors"))
    .map((entry) => relative(FOLDER, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .sort();
  return [...new Set(all.map(dirname))].flatMap((name) => {
    const list = all.filter((file) => dirname(file) === name);
    if (list.length <= aClass) return list;
    return Array.from({ length: aClass }, (_, i) => list[Math.round((i * (list.length - 1)) / (aClass - 1))]!);
  });
}
