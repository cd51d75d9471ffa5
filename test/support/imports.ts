/** What the files of `src/` import of each other: read from their text, types and `import()` included. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

export const ROOT = join(import.meta.dirname, "../..");

/** Paths of files with `ending` under a folder, from the checkout's root, with slashes. */
export const filesUnder = (folder: string, ending = ".ts"): string[] =>
  readdirSync(join(ROOT, folder), { encoding: "utf8", recursive: true })
    .map((path) => `${folder}/${path.replaceAll("\\", "/")}`)
    .filter((path) => path.endsWith(ending))
    .sort();

export const textOf = (path: string): string => readFileSync(join(ROOT, path), "utf8");

/** package.json's own names of files (`#platform`): every file that one can stand for. */
const SEAMS = (JSON.parse(textOf("package.json")) as { imports: Record<string, string | Record<string, string>> }).imports;

/** `from "…"`, `import("…")` and `import "…"` of code, not of comments. */
const IMPORT = /^(?!\s*(?:\/\/|\/?\*)).*?(?:\bfrom\s+|\bimport\(\s*|^import\s+)"([^"]+)"/gm;

/** The files of the checkout that a file imports, as paths from its root. */
export function importsOf(path: string): string[] {
  return [...textOf(path).matchAll(IMPORT)].flatMap(([, name]) => {
    const seam = SEAMS[name!];
    if (seam !== undefined) return Object.values(typeof seam === "string" ? [seam] : seam).map((file) => file.replace(/^\.\//, ""));
    return name!.startsWith(".") ? [relative(ROOT, join(ROOT, dirname(path), name!)).replaceAll("\\", "/")] : [];
  });
}
