// `cogwheel serve` as a process of its own, with a queue in a folder that is removed after it, and what it takes.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const launcher = resolve(import.meta.dirname, "../../../dist/launch.js");

/** Starts it with more flags; resolves when it listens. */
export async function serving(flags = [], env = {}) {
  const folder = mkdtempSync(join(tmpdir(), "cogwheel-serve-"));
  const server = spawn(process.execPath, [launcher, "serve", "--port", "0", "--queue", join(folder, "jobs"), ...flags], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const closed = new Promise((done) => server.on("close", done));
  let said = "";
  server.stderr.on("data", (piece) => (said += piece));
  const url = await new Promise((found, failed) => {
    server.stdout.on("data", (piece) => {
      said += piece;
      const [, address] = /Listening on (\S+) /.exec(said) ?? [];
      if (address) found(address);
    });
    void closed.then(() => failed(new Error(said)));
  });
  /** What only Linux tells of the server; its worker is a child of it. */
  const told = (of) => {
    try {
      return of(`/proc/${server.pid}`);
    } catch {
      return Number.NaN;
    }
  };
  return {
    url,
    /** Resident, in MB. */
    memory: () => told((proc) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`${proc}/status`, "utf8"))[1]) / 1024),
    openFiles: () => told((proc) => readdirSync(`${proc}/fd`).length),
    async end() {
      if (/could not be answered/.test(said)) console.log(said);
      server.kill("SIGTERM");
      await closed;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
