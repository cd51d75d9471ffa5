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
  const json = await run([...args, "--no-cache", "--progress", "json"], home);
  const [first] = json.err.split("\n").filter((line) => line.startsWith('{"stage":"load text encoder"'));
  expect(JSON.parse(first!), "progress knows what is left before anything is loaded").toMatchObject({
    all: { overall: 0, secondsLeft: expect.any(Number) as number },
  });
});

it("what takes long on a CPU is told with what takes less, before anything is loaded", { timeout: 240_000 }, async ({ skip }) => {
  const home = { XDG_CACHE_HOME: join(folder, "cache"), COGWHEEL_TUNING: undefined };
  let told = false;
  const { code, err } = await run(["a red circle", "--frames", "8001", "--out", "long.mp4"], home, (text, child) => {
    if (told || !/keeps what is there$/m.test(text)) return;
    told = true;
    child.kill("SIGINT");
  });
  if (!err.includes("(software)")) skip("needs an adapter on the CPU");
  expect(code, err).toBe(130);
  const long = String.raw`(?:\d+ min \d\d s|\d+ h \d\d min|\d+ days)`;
  const less = String.raw`about (?:[\d.]+ s|\d+ min \d\d s)`;
  expect(err).toMatch(
    new RegExp(
      // A probe that its time ended, on a slow machine, says that it is rough.
      `^(?:About|Roughly) ${long} on this adapter \\(.*denoise .*\\n\\[generate\\] ${long} is long: this adapter computes on the CPU, .*` +
        `Here --frames 17 ${less}, --size 32x32 --frames 17 ${less} would take less; Ctrl-C stops, and keeps what is there$`,
      "m",
    ),
  );
  expect(err.slice(0, err.indexOf("is long"))).not.toMatch(/^load /m);
  // A warning is said to who wants to hear nothing else.
  told = false;
  const quiet = await run(["a red circle", "--frames", "8001", "--out", "long.mp4", "--quiet"], home, (text, child) => {
    if (told || !/keeps what is there$/m.test(text)) return;
    told = true;
    child.kill("SIGINT");
  });
  expect([quiet.code, quiet.out]).toEqual([130, ""]);
  // Dawn's own lines are another test's (quiet-driver): on a loaded machine they came through once.
  const said = quiet.err.replace(/^Warning: max.* artificially reduced .*\n/gm, "");
  expect(said).toMatch(new RegExp(`^\\[generate\\] ${long} is long: .* would take less; .*\nStopping; once more stops at once\\.\n$`));
});
