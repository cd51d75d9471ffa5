/** How long a generation takes is told before anything is loaded, on a machine's first run too. */
import { homedir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { useCommand } from "../support/command.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const { folder, run } = useCommand();
afterAll(removeTinyCheckpoints);

it("is a line before anything is loaded, on a first run too", { timeout: 120_000 }, async () => {
  const args = ["a red circle", "--model", await tinyCheckpoint(), "--frames", "1", "--steps", "1", "--out", "a.png"];
  // Nothing is kept but what the driver compiled.
  const driver = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  const home = { XDG_CACHE_HOME: join(folder, "cache"), MESA_SHADER_CACHE_DIR: driver, COGWHEEL_TUNING: undefined };
  const { code, err } = await run(args, home);
  expect(code, err).toBe(0);
  expect(err).toMatch(/^Roughly [\d.]+ s on this adapter( \(.*\))?, [\d.]+ MB of its memory\.\nload text encoder/m);
});
