/** A user's cache of a hub on loopback, which a test's own process and others open checkpoints through. */
import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { mkdtemp, readFile, readdir, realpath, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { build } from "esbuild";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import type { HubOptions } from "../../src/hub/id.ts";
import { openSource } from "../../src/hub/open-node.ts";
import type { OpenSourceOptions } from "../../src/hub/open-options.ts";
import { COMMIT, ID, NEEDED, text, weights } from "./hub-checkpoint.ts";
import { HubServer, gitSha1, sha256 } from "./hub-server.ts";

export const LATER = "b".repeat(40);
/** What the repository has besides. */
const BESIDES: Record<string, Uint8Array> = {
  "README.md": text("# a model"),
  ".gitattributes": text("*.safetensors filter=lfs"),
  "assets/film.mp4": text("film"),
  "transformer/diffusion_pytorch_model.bin": text("pickle"),
  "transformer/diffusion_pytorch_model.fp16.safetensors": weights(["w"], 32, 5),
  "tokenizer/special_tokens_map.json": text({}),
};
export const ALL = Object.values(NEEDED).reduce((bytes, { length }) => bytes + length, 0);

const VARIABLES = [
  "HF_HOME",
  "HF_HUB_CACHE",
  "HUGGINGFACE_HUB_CACHE",
  "HF_TOKEN",
  "HF_TOKEN_PATH",
  "HF_ENDPOINT",
  "HF_HUB_OFFLINE",
  "HF_HUB_DISABLE_IMPLICIT_TOKEN",
];
const before = Object.fromEntries(VARIABLES.map((name) => [name, process.env[name]]));
export let server: HubServer;
export let home: string;

export const cache = (...parts: string[]): string => join(home, "hub", ...parts);
export const model = (...parts: string[]): string => cache("models--some-org--Some-Model_2b", ...parts);
export const blob = (path: string): string =>
  model("blobs", path.endsWith(".safetensors") ? sha256(NEEDED[path]!) : gitSha1(NEEDED[path]!));
export const snapshot = (path = "", commit = COMMIT): string => model("snapshots", commit, path);
export const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** Opens and closes; gives the snapshot's files. */
export async function open(from = ID, hub: HubOptions = {}, options: Omit<OpenSourceOptions, "hub"> = {}): Promise<string[]> {
  await using checkpoint = await openCheckpoint(await openSource(from, { ...options, hub }), options);
  return (await checkpoint.source.list()).map(({ path }) => path);
}

/** Everything in the snapshot is what the hub has, and nothing unfinished is left over. */
export async function expectWhole(files = NEEDED, commit = COMMIT): Promise<void> {
  for (const [path, bytes] of Object.entries(files)) expect(Buffer.compare(await readFile(snapshot(path, commit)), bytes), path).toBe(0);
  expect((await readdir(model("blobs"))).filter((name) => !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(name))).toEqual([]);
}

/** What opens checkpoints, as a script that another process can run. */
export async function bundle(alias: Record<string, string> = {}): Promise<string> {
  const outdir = join(home, "open");
  await build({
    entryPoints: [resolve(import.meta.dirname, "../../src/hub/open-node.ts")],
    bundle: true,
    platform: "node",
    format: "esm",
    target: "es2022",
    conditions: ["node"],
    alias,
    external: Object.values(alias),
    outdir,
    splitting: true,
    outExtension: { ".js": ".mjs" },
    logLevel: "error",
  });
  return join(outdir, "open-node.mjs");
}
export function openIn(script: string, from: string): ChildProcessWithoutNullStreams {
  return spawn(
    process.execPath,
    [
      "--input-type=module",
      "-e",
      `const { openSource } = await import(${JSON.stringify(script)}); ` +
        `console.log((await (await openSource(${JSON.stringify(from)})).list()).length);`,
    ],
    { cwd: home, env: { ...process.env } },
  );
}
/** The number of files that another process finds in a checkpoint, or what it says instead. */
export async function output(script: string, from: string): Promise<string> {
  const child = openIn(script, from);
  let out = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (out += data.toString()));
  await new Promise((done) => child.once("close", done));
  return out.trim();
}

/** A hub on loopback and an empty cache for each test of a file; the user's own variables are put back. */
export function useHub(): void {
  beforeAll(async () => {
    server = await HubServer.start();
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    for (const name of VARIABLES) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  });
  beforeEach(async () => {
    home = await realpath(await mkdtemp(join(tmpdir(), "cogwheel-hub-")));
    for (const name of VARIABLES) delete process.env[name];
    process.env["HF_HOME"] = home;
    process.env["HF_ENDPOINT"] = server.url;
    for (const name of Object.keys(server.repos)) delete server.repos[name];
    server.repos[ID] = { revisions: { main: { commit: COMMIT, files: { ...BESIDES, ...NEEDED } } } };
    server.forget();
  });
  afterEach(async () => {
    for (const map of [server.cut, server.instead, server.listedSize]) map.clear();
    server.failures.length = 0;
    server.ranges = true;
    server.pace = undefined;
    await rm(home, { recursive: true, force: true });
  });
}
