/** What Dawn writes by itself is taken out of a user's own script, and nothing else. A shell runs it: standard error is a pipe or a file. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, it } from "vitest";

const PACKAGE = pathToFileURL(join(import.meta.dirname, "../../dist/node.js")).href;
const SCRIPT = `
import { statSync } from "node:fs";
import { CogVideoX } from ${JSON.stringify(PACKAGE)};
const number = () => statSync("/proc/self/fd/2").ino;
const before = number();
console.error("before");
const opening = CogVideoX.open();
const meanwhile = setInterval(() => console.error("meanwhile"), 1);
const model = await opening;
clearInterval(meanwhile);
console.error(before === number() ? "after, into the same" : "after, into another");
await model.close();
`;

it("by COGWHEEL_QUIET_DRIVER=1; without it standard error stays the script's own", { timeout: 60_000 }, ({ skip }) => {
  if (process.platform !== "linux") skip("is done on Linux alone");
  const folder = mkdtempSync(join(tmpdir(), "cogwheel-quiet-"));
  const script = join(folder, "script.mjs");
  writeFileSync(script, SCRIPT);
  const log = join(folder, "log");
  const lines = (quiet: string | undefined, to: "2>&1 | cat" | `2>${string}`): string[] => {
    const env = { ...process.env, COGWHEEL_QUIET_DRIVER: quiet, COGWHEEL_PROBED: undefined };
    const command = `{ "${process.execPath}" "${script}" >/dev/null; echo next >&2; } ${to}`;
    const { stdout } = spawnSync("sh", ["-c", command], { env, encoding: "utf8" });
    return (to === "2>&1 | cat" ? stdout : readFileSync(log, "utf8")).trim().split("\n");
  };
  writeFileSync(log, "");
  const [quiet, plain] = [lines("1", "2>&1 | cat"), lines(undefined, "2>&1 | cat")];
  const [appended, written] = [lines("1", `2>>"${log}"`), lines("1", `2>"${log}"`)];
  rmSync(folder, { recursive: true });
  // In a file that is written anew Dawn's lines stay: what else writes there would be written over.
  const isDawns = (line: string): boolean => line.includes("artificially reduced");
  for (const told of [quiet, appended, plain.filter((line) => !isDawns(line)), written.filter((line) => !isDawns(line))]) {
    expect([told[0], told.at(-2), told.at(-1)]).toEqual(["before", "after, into the same", "next"]);
    expect(new Set(told.slice(1, -2))).toEqual(new Set(["meanwhile"]));
  }
});
