/**
 * What Dawn writes by itself is taken out, and nothing else: of what the launcher starts wherever standard error leads, of a user's own
 * script where it asks. A shell runs it.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { watched } from "../support/watched.ts";

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

const LAUNCHER = join(import.meta.dirname, "../../dist/launch.js");
const isDawns = (line: string): boolean => line.includes("artificially reduced");

let folder: string;
let script: string;
let log: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "cogwheel-quiet-"));
  script = join(folder, "script.mjs");
  log = join(folder, "log");
  writeFileSync(script, SCRIPT);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a line of a shell, in which $NODE, $SCRIPT, $LAUNCHER and $LOG stand for what they name. */
function shell(line: string, quiet?: string): { status: number | null; stdout: string; log: string } {
  writeFileSync(log, "");
  const names = { NODE: process.execPath, SCRIPT: script, LAUNCHER, LOG: log };
  const env = { ...process.env, ...names, COGWHEEL_QUIET_DRIVER: quiet, COGWHEEL_PROBED: undefined };
  const { status, stdout } = spawnSync("sh", ["-c", line], { env, encoding: "utf8" });
  return { status, stdout, log: readFileSync(log, "utf8") };
}

describe.skipIf(process.platform !== "linux")("Dawn's own lines", () => {
  it("go by COGWHEEL_QUIET_DRIVER=1; without it standard error stays the script's own", { timeout: 60_000 }, () => {
    const lines = (quiet: string | undefined, to: string): string[] => {
      const told = shell(`{ "$NODE" "$SCRIPT" >/dev/null; echo next >&2; } ${to}`, quiet);
      return (told.stdout + told.log).trim().split("\n");
    };
    const [quiet, plain] = [lines("1", "2>&1 | cat"), lines(undefined, "2>&1 | cat")];
    const [appended, written] = [lines("1", '2>>"$LOG"'), lines("1", '2>"$LOG"')];
    // In a file that is written anew Dawn's lines stay: what else writes there would be written over.
    for (const told of [quiet, appended, plain.filter((line) => !isDawns(line)), written.filter((line) => !isDawns(line))]) {
      expect([told[0], told.at(-2), told.at(-1)]).toEqual(["before", "after, into the same", "next"]);
      expect(new Set(told.slice(1, -2))).toEqual(new Set(["meanwhile"]));
    }
  });

  describe("of what the launcher starts", () => {
    const RUN = '"$NODE" "$LAUNCHER" --exec "$SCRIPT"';
    const expected = (told: string): void => {
      const lines = told.trim().split("\n");
      expect(lines).not.toContainEqual(expect.stringContaining("artificially"));
      expect(lines.filter((line) => line !== "meanwhile")).toEqual(["before", "after, into the same", "next"]);
    };

    it("go from a file that is written anew, and who writes there too loses nothing", { timeout: 60_000 }, () => {
      expected(shell(`{ ${RUN} >/dev/null; echo next >&2; } 2>"$LOG"`).log);
      // Standard output in the same file, after and before.
      expected(shell(`exec >"$LOG" 2>&1; ${RUN}; echo next`).log);
    });

    it("go from a pipe", { timeout: 60_000 }, () => {
      expected(shell(`{ ${RUN} >/dev/null; echo next >&2; } 2>&1 | cat`).stdout);
    });

    it("go from a socket, which is what Node gives its children", { timeout: 60_000 }, async () => {
      const env = { ...process.env, COGWHEEL_QUIET_DRIVER: undefined, COGWHEEL_PROBED: undefined };
      const { code, err } = await watched(spawn(process.execPath, [LAUNCHER, "--exec", script], { env }));
      expect(code).toBe(0);
      expected(`${err}next`);
    });

    it("leave exit codes, signals and the last words as they are", { timeout: 60_000 }, () => {
      const own = join(folder, "ends.mjs");
      const run = (code: string): { status: number | null; log: string } => {
        writeFileSync(own, code);
        const { status, log: told } = shell(`"$NODE" "$LAUNCHER" --exec "${own}" 2>"$LOG"; code=$?; wc -c <"$LOG" >>"$LOG"; exit $code`);
        return { status, log: told };
      };
      const late = 'process.on("exit", () => console.error("last"));';
      expect(run(`console.error("x".repeat(100_000)); ${late} process.exitCode = 7;`)).toEqual({
        status: 7,
        log: `${"x".repeat(100_000)}\nlast\n100006\n`,
      });
      expect(run('process.kill(process.pid, "SIGKILL"); setInterval(() => {}, 1000);').status).toBe(137);
      expect(run('process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1000);').status).toBe(143);
    });
  });

  it("stay of a model in a thread, whose end leaves standard error open", { timeout: 60_000 }, () => {
    const own = join(folder, "thread.mjs");
    writeFileSync(
      own,
      `import { fstatSync } from "node:fs";
      import { CogVideoX } from ${JSON.stringify(PACKAGE.replace("node.js", "node-worker.js"))};
      const before = fstatSync(2).ino;
      await (await CogVideoX.open()).close();
      console.error(before === fstatSync(2).ino ? "the same" : "another");`,
    );
    for (const to of ['2>"$LOG"', '2>>"$LOG"', '2>&1 >/dev/null | cat >"$LOG"']) {
      const { status, log: told } = shell(`"$NODE" "$LAUNCHER" --exec "${own}" ${to}`);
      const lines = told.trim().split("\n");
      expect([status, lines.filter((line) => !isDawns(line))], to).toEqual([0, ["the same"]]);
    }
  });

  it("packages in a linked node_modules are found where they are, wherever standard error leads", { timeout: 60_000 }, () => {
    const [real, linked] = [join(folder, "real"), join(folder, "linked")];
    mkdirSync(join(real, "one"), { recursive: true });
    writeFileSync(join(real, "one", "index.js"), "");
    mkdirSync(linked);
    symlinkSync(real, join(linked, "node_modules"));
    // Node remembers the way to the first, which no link is on, and begins with that for the second.
    const asks = `
      import { createRequire } from "node:module";
      const { resolve } = createRequire(import.meta.url);
      resolve("./asks.mjs");
      console.log(resolve("one"));`;
    writeFileSync(join(linked, "asks.mjs"), asks);
    const found = join(realpathSync(real), "one", "index.js");
    for (const to of ["2>&1 | cat", '2>>"$LOG"', '2>"$LOG"'])
      expect(shell(`"$NODE" "$LAUNCHER" --exec ${join(linked, "asks.mjs")} ${to}`).stdout.trim(), to).toBe(found);
  });
});
