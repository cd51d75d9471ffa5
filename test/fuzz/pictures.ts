/**
 * Random PNG, GIF, JPEG and WebP files, still and moving (drawn by Python: test/video/pictures/draw.py), read and compared with what
 * Pillow reads: every byte of every frame. In the environment that `npm run reference` makes, or with the interpreter that
 * COGWHEEL_PYTHON names.
 */
import { spawnSync } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CogwheelError } from "../../src/base/errors.ts";
import { bytesOf, difference, type Drawn } from "../video/pictures/drawn.ts";
import type { FuzzKind } from "./kind.ts";

export const pictures: FuzzKind = {
  about: "random PNG, GIF, JPEG and WebP (Python), every byte of every frame compared with Pillow",
  count: 2000,
  async run({ count, seed, index, keep }, tally) {
    await mkdir(keep, { recursive: true });
    const file = join(keep, `pictures-${seed}.json`);
    const { status, error } = spawnSync(
      process.execPath,
      ["test/reference/run.mjs", "pictures", file, "--seed", String(seed), "--count", String(index === undefined ? count : index + 1)],
      { stdio: ["ignore", "inherit", "inherit"] },
    );
    if (status !== 0)
      throw new CogwheelError(
        "fuzz",
        `test/video/pictures/draw.py must draw the pictures, got ${error?.message ?? `exit code ${status}`}; see its message above`,
      );
    const drawn = (JSON.parse(await readFile(file, "utf8")) as Drawn[]).slice(index ?? 0);
    for (const [place, picture] of drawn.entries()) {
      const again = `${picture.name}: npm run fuzz -- pictures --seed ${seed} --index ${place + (index ?? 0)}`;
      try {
        const differs = await difference(picture);
        tally.add(differs === undefined ? "read" : "silent wrong", again, differs);
        if (differs !== undefined) await writeFile(join(keep, picture.name), bytesOf(picture));
      } catch (thrown) {
        // Each of them is whole, so that a refusal is a fault too.
        tally.add("foreign error", again, (thrown as Error).message);
      }
    }
    await rm(file);
  },
};
