/** The command `npm run fuzz`, as it is built. */
import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";

const fuzz = (...args: string[]): { status: number | null; stdout: string } =>
  spawnSync(process.execPath, ["dist/launch.js", "--exec", "dist/test/fuzz.js", ...args], { encoding: "utf8" });

it("says so where nothing was tried, and runs what has processes of its own", () => {
  expect(spawnSync(process.execPath, ["build.mjs", "--if-stale"]).status).toBe(0);
  const none = fuzz("bombs", "--count", "0");
  expect([none.status, none.stdout]).toEqual([1, expect.stringContaining("FAIL nothing was tried")]);
  const one = fuzz("weights", "--count", "1", "--seed", "1");
  expect([one.status, one.stdout]).toEqual([0, expect.stringMatching(/^weights +1 /m)]);
});
