/** The model that comes with the package, in Node: a folder of the package, wherever the code that asks was bundled to. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CogwheelError } from "../base/errors.ts";
import { folderSource } from "../sources/folder.ts";
import type { CheckpointSource } from "../sources/source.ts";

const PACKAGE = "cogwheel-webgpu";

/** The nearest folder at or above `folder` that is this package; undefined where none is. */
function packageAbove(folder: string): string | undefined {
  const file = join(folder, "package.json");
  if (existsSync(file) && (JSON.parse(readFileSync(file, "utf8")) as { name?: unknown }).name === PACKAGE) return folder;
  const parent = dirname(folder);
  return parent === folder ? undefined : packageAbove(parent);
}

/** Where the package is that this file is of, or, bundled into an app, the one that the app has installed. */
function packageRoot(): string | undefined {
  const here: string | undefined = import.meta.url; // bundlers leave nothing of it in CommonJS
  const places = [
    () => here && dirname(fileURLToPath(here)),
    () => here && dirname(createRequire(here).resolve(PACKAGE)),
    () => dirname(createRequire(join(process.cwd(), "package.json")).resolve(PACKAGE)),
  ];
  for (const place of places) {
    try {
      const folder = place();
      const found = folder && packageAbove(folder);
      if (found) return found;
    } catch {
      // It is not there: the next place.
    }
  }
  return undefined;
}

export async function embeddedSource(): Promise<CheckpointSource> {
  const root = packageRoot();
  const folder = root && join(root, "models", "moving-shapes");
  if (folder && existsSync(folder)) return await folderSource(folder);
  throw new CogwheelError(
    "checkpoint",
    `without a name the embedded model is opened, models/moving-shapes of the package ${PACKAGE}, ` +
      `got ${folder ? `no folder ${folder}` : "no such package beside this program"}; pass the model's folder, URL or name`,
  );
}
