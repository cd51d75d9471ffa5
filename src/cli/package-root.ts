/** Where the package lies: the nearest folder above this file with a package.json (bundles lie at different depths). */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

function find(folder: string): string {
  if (existsSync(join(folder, "package.json"))) return folder;
  const parent = dirname(folder);
  return parent === folder ? folder : find(parent);
}

export const packageRoot = find(dirname(fileURLToPath(import.meta.url)));

/** What package.json says of the package. */
export const packageInfo = (): { version: string; description: string } =>
  JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as { version: string; description: string };

/** The checkpoint that comes with the package. */
export const EMBEDDED_MODEL = join(packageRoot, "models", "moving-shapes");
