import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, realpath, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { scanCacheDir } from "@huggingface/hub";
import { build } from "esbuild";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { hubFetch } from "../../src/hub/fetch.ts";
import { hubHttpSource } from "../../src/hub/ranges.ts";
import { HubCache } from "../../src/hub/cache.ts";
import { chooseRevision, parseHubId } from "../../src/hub/id.ts";
import type { HubOptions, HubProgress } from "../../src/hub/id.ts";
import { withLock } from "../../src/hub/lock.ts";
import { openSource as openInBrowser } from "../../src/hub/open-browser.ts";
import { openSource } from "../../src/hub/open-node.ts";
import type { OpenSourceOptions } from "../../src/hub/open-options.ts";
import { COMMIT, ID, NEEDED, SHARDS, text, VAE, WEIGHTS, weights } from "../support/hub-checkpoint.ts";
import { gitSha1, HubServer, sha256 } from "../support/hub-server.ts";

const LATER = "b".repeat(40);
/** What the repository has besides. */
const BESIDES: Record<string, Uint8Array> = {
  "README.md": text("# a model"),
  ".gitattributes": text("*.safetensors filter=lfs"),
  "assets/film.mp4": text("film"),
  "transformer/diffusion_pytorch_model.bin": text("pickle"),
  "transformer/diffusion_pytorch_model.fp16.safetensors": weights(["w"], 32, 5),
  "tokenizer/special_tokens_map.json": text({}),
};
const ALL = Object.values(NEEDED).reduce((bytes, { length }) => bytes + length, 0);

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
let server: HubServer;
let home: string;

const cache = (...parts: string[]): string => join(home, "hub", ...parts);
const model = (...parts: string[]): string => cache("models--some-org--Some-Model_2b", ...parts);
const blob = (path: string): string => model("blobs", path.endsWith(".safetensors") ? sha256(NEEDED[path]!) : gitSha1(NEEDED[path]!));
const snapshot = (path = "", commit = COMMIT): string => model("snapshots", commit, path);
const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** Opens and closes; gives the snapshot's files. */
async function open(from = ID, hub: HubOptions = {}, options: Omit<OpenSourceOptions, "hub"> = {}): Promise<string[]> {
  await using checkpoint = await openCheckpoint(await openSource(from, { ...options, hub }), options);
  return (await checkpoint.source.list()).map(({ path }) => path);
}

/** Everything in the snapshot is what the hub has, and nothing unfinished is left over. */
async function expectWhole(files = NEEDED, commit = COMMIT): Promise<void> {
  for (const [path, bytes] of Object.entries(files)) expect(Buffer.compare(await readFile(snapshot(path, commit)), bytes), path).toBe(0);
  expect((await readdir(model("blobs"))).filter((name) => !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(name))).toEqual([]);
}

/** What opens checkpoints, as a script that another process can run. */
async function bundle(alias: Record<string, string> = {}): Promise<string> {
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
function openIn(script: string, from: string): ChildProcessWithoutNullStreams {
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
async function output(script: string, from: string): Promise<string> {
  const child = openIn(script, from);
  let out = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (out += data.toString()));
  await new Promise((done) => child.once("close", done));
  return out.trim();
}

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

describe("an id", () => {
  test.each([
    ["zai-org/CogVideoX-2b", { name: "zai-org/CogVideoX-2b", revision: null }],
    ["a/b.c_d@v1.0", { name: "a/b.c_d", revision: "v1.0" }],
    ["a/b@refs/pr/1", { name: "a/b", revision: "refs/pr/1" }],
  ])("%s", (id, parsed) => expect(parseHubId(id)).toEqual(parsed));

  test.each([
    "model",
    "./a/b",
    "../a",
    "/a/b",
    "a/b/c",
    "a/b/",
    "a\\b",
    "models/moving-shapes",
    "datasets/a",
    "a/..",
    ".a/b",
    "a/b--c",
    "~/b",
    "",
  ])("%s is none", (id) => expect(parseHubId(id)).toBeNull());

  test("a revision is given once and is no path out of the cache", () => {
    expect(chooseRevision({ name: "a/b", revision: null }, undefined)).toBe("main");
    expect(chooseRevision({ name: "a/b", revision: "v1" }, "v1")).toBe("v1");
    expect(() => chooseRevision({ name: "a/b", revision: "v1" }, "v2")).toThrow(
      '[hub] a/b: a revision must be given once, got "v1" in the id and "v2" as an option; leave one out',
    );
    for (const bad of ["", "../x", "a/../b", "/a", "a//b", "a b"])
      expect(() => chooseRevision({ name: "a/b", revision: bad }, undefined)).toThrow("a revision must be a branch, a tag or a commit");
  });

  test("a folder of that name wins", async () => {
    const folder = await mkdtemp(join(tmpdir(), "cogwheel-here-"));
    const there = process.cwd();
    try {
      await mkdir(join(folder, ID, "sub"), { recursive: true });
      await writeFile(join(folder, ID, "model_index.json"), "{}");
      process.chdir(folder);
      await using source = await openSource(ID);
      expect(await source.list()).toEqual([{ path: "model_index.json", size: 2 }]);
      expect(server.seen).toEqual([]);
    } finally {
      process.chdir(there);
      await rm(folder, { recursive: true });
    }
  });
});

describe("a download", () => {
  test("takes the files that are needed, into the standard layout", async () => {
    const progress: HubProgress[] = [];
    expect(await open(ID, { onProgress: (p) => void progress.push(p) })).toEqual(Object.keys(NEEDED).sort());
    await expectWhole();
    expect(server.sentOf()).toBe(ALL);
    expect(await readFile(model("refs", "main"), "utf8")).toBe(COMMIT);
    expect(await readlink(snapshot(WEIGHTS))).toBe(`../../../blobs/${sha256(NEEDED[WEIGHTS]!)}`);
    expect(await readlink(snapshot("model_index.json"))).toBe(`../../blobs/${gitSha1(NEEDED["model_index.json"]!)}`);
    expect((await readdir(model())).sort()).toEqual([".cogwheel-checked.json", "blobs", "refs", "snapshots"]);
    expect(await readdir(cache(".locks", "models--some-org--Some-Model_2b"))).toEqual([]);
    // The client's own reader of caches understands it.
    const scanned = await scanCacheDir(cache());
    expect(scanned.warnings).toEqual([]);
    expect(scanned.repos).toMatchObject([{ id: { name: ID, type: "model" }, revisions: [{ commitOid: COMMIT, refs: ["main"] }] }]);
    const last = progress.at(-1)!;
    expect(last.phase).toBe("download");
    expect(last.done).toBe(last.total);
    expect(last.total).toBeGreaterThan(NEEDED[WEIGHTS]!.length);
    expect(progress.every(({ done }, i) => i === 0 || done >= progress[i - 1]!.done)).toBe(true);
  });

  test("is not done again: no request for content, no hash computed anew", async () => {
    await open();
    server.forget();
    const progress: HubProgress[] = [];
    await open(ID, { onProgress: (p) => void progress.push(p) });
    expect(server.seen.filter(({ path }) => !path.startsWith("/api/"))).toEqual([]);
    expect(server.seen.length).toBeGreaterThan(0);
    expect(progress).toEqual([]);
  });

  test("asks nobody where the revision is a commit that is cached", async () => {
    await open(`${ID}@${COMMIT}`);
    server.forget();
    await open(`${ID}@${COMMIT}`);
    expect(server.seen).toEqual([]);
    expect(await exists(model("refs"))).toBe(false);
  });

  test("takes the variant and the components that are asked for", async () => {
    const only = ["transformer", "scheduler"];
    const fp16 = "transformer/diffusion_pytorch_model.fp16.safetensors";
    expect(await open(ID, {}, { only, variant: "fp16" })).toEqual(
      ["model_index.json", "scheduler/scheduler_config.json", "transformer/config.json", fp16].sort(),
    );
    // The plain weights come when they are asked for, even if the revision is a commit and other weights are there.
    expect(await open(`${ID}@${COMMIT}`, {}, { only })).toContain(WEIGHTS);
  });

  test("takes another revision beside the first; what is the same is there once", async () => {
    const files = { ...NEEDED, [VAE]: weights(["v"], 96, 9) };
    server.repos[ID]!.revisions["v1.1"] = { commit: LATER, files };
    server.repos[ID]!.revisions["refs/pr/7"] = { commit: "c".repeat(40), files };
    await open();
    server.forget();
    await open(`${ID}@v1.1`);
    await expectWhole(files, LATER);
    expect(server.sentOf()).toBe(files[VAE]!.length);
    expect(await readFile(model("refs", "v1.1"), "utf8")).toBe(LATER);
    await open(ID, { revision: "refs/pr/7" });
    expect(await readFile(model("refs", "refs", "pr", "7"), "utf8")).toBe("c".repeat(40));
    expect(server.sentOf()).toBe(files[VAE]!.length);
  });

  test("follows a branch that moved", async () => {
    await open();
    server.repos[ID]!.revisions["main"] = { commit: LATER, files: { ...NEEDED, "vae/config.json": text({ latent_channels: 8 }) } };
    await open();
    expect(await readFile(model("refs", "main"), "utf8")).toBe(LATER);
    expect(await readFile(snapshot("vae/config.json", LATER), "utf8")).toBe('{"latent_channels":8}');
  });

  test("uses what another client left in the cache, compared with its hashes once", async () => {
    await open();
    await rm(model(".cogwheel-checked.json"));
    server.forget();
    const progress: HubProgress[] = [];
    await open(ID, { onProgress: (p) => void progress.push(p) });
    expect(server.content).toEqual([]);
    expect(progress.length).toBeGreaterThan(0);
    expect(new Set(progress.map(({ phase }) => phase))).toEqual(new Set(["check"]));
  });

  test("does not write outside of the cache for a repository that says so", async () => {
    server.repos[ID]!.revisions["main"]!.files["text_encoder/model.safetensors.index.json"] = text({
      weight_map: { a: "../../../../evil.safetensors" },
    });
    await expect(open()).rejects.toThrow("a path must be relative and stay inside the checkpoint's folder");
  });
});

describe("an interrupted download", () => {
  const half = 300 * 1024;

  test("that was stopped goes on where it was", async () => {
    const stop = new AbortController();
    const onProgress = (p: HubProgress): void => {
      if (p.phase === "download" && p.file === WEIGHTS && server.sentOf("transformer") >= half) stop.abort(new Error("enough"));
    };
    server.pace = () => new Promise((done) => setTimeout(done, 2));
    await expect(open(ID, { signal: stop.signal, onProgress })).rejects.toThrow("enough");
    server.pace = undefined;
    const part = `${blob(WEIGHTS)}.cogwheel-part`;
    const kept = (await stat(part)).size;
    expect(kept).toBeGreaterThan(half / 2);
    expect(await exists(snapshot(WEIGHTS))).toBe(false);
    expect(await exists(model("refs"))).toBe(false);
    server.forget();
    await open();
    await expectWhole();
    expect(server.content.find(({ path }) => path.includes("transformer%2F"))!.range).toBe(`bytes=${kept}-`);
    expect(server.sentOf("transformer%2F")).toBe(NEEDED[WEIGHTS]!.length - kept);
  });

  test("by a connection that breaks is taken up again at once", async () => {
    server.cut.set(WEIGHTS, [half, 0, 0, half / 2]);
    await open();
    await expectWhole();
    const tries = server.content.filter(({ path }) => path.includes("transformer%2F"));
    expect(tries.map(({ sent }) => sent).slice(0, 4)).toEqual([half, 0, 0, half / 2]);
    expect(tries.length).toBe(5);
    expect(server.sentOf("transformer%2F")).toBe(NEEDED[WEIGHTS]!.length);
  });

  test("that brings nothing any more says so, and keeps what it has", async () => {
    server.cut.set(WEIGHTS, [half, 0, 0, 0, 0, 0]);
    await expect(open()).rejects.toThrow(
      new RegExp(
        `\\[hub\\] ${ID}/${WEIGHTS}: the download must go on, got .*; ` +
          `check the network and run again, it goes on from byte ${half} of ${NEEDED[WEIGHTS]!.length}`,
      ),
    );
    server.cut.clear();
    server.forget();
    await open();
    await expectWhole();
    expect(server.sentOf("transformer%2F")).toBe(NEEDED[WEIGHTS]!.length - half);
  });

  test("by the death of its process leaves no lock behind", async () => {
    const child = spawn(process.execPath, ["-e", ""]);
    const { pid } = child;
    await new Promise((done) => child.once("exit", done));
    const lock = cache(".locks", "models--some-org--Some-Model_2b", "cogwheel.lock");
    await mkdir(join(lock, ".."), { recursive: true });
    await writeFile(lock, JSON.stringify({ pid, host: hostname(), key: "gone" }));
    await mkdir(model("blobs"), { recursive: true });
    await writeFile(`${blob(WEIGHTS)}.cogwheel-part`, NEEDED[WEIGHTS]!.subarray(0, half));
    await open();
    await expectWhole();
    expect(server.sentOf("transformer%2F")).toBe(NEEDED[WEIGHTS]!.length - half);
  });

  test("whose remains are something else begins anew", async () => {
    await mkdir(model("blobs"), { recursive: true });
    await writeFile(`${blob(WEIGHTS)}.cogwheel-part`, new Uint8Array(half).fill(1));
    await writeFile(`${blob(VAE)}.cogwheel-part`, new Uint8Array(NEEDED[VAE]!.length + 5));
    await open();
    await expectWhole();
  });

  test("whose remains are whole is not downloaded again", async () => {
    await mkdir(model("blobs"), { recursive: true });
    await writeFile(`${blob(WEIGHTS)}.cogwheel-part`, NEEDED[WEIGHTS]!);
    await open();
    await expectWhole();
    expect(server.sentOf("transformer%2F")).toBe(0);
  });

  test("begins anew where the server has no ranges", async () => {
    await mkdir(model("blobs"), { recursive: true });
    await writeFile(`${blob(WEIGHTS)}.cogwheel-part`, NEEDED[WEIGHTS]!.subarray(0, half));
    server.ranges = false;
    await open();
    await expectWhole();
    expect(server.sentOf("transformer%2F")).toBe(NEEDED[WEIGHTS]!.length);
  });
});

describe("a file in the cache", () => {
  test.each([
    [
      "with another byte",
      async (path: string) => {
        const bytes = await readFile(path);
        bytes[1000]! ^= 1;
        await writeFile(path, bytes);
      },
      1,
    ],
    ["cut short", (path: string) => truncate(path, 100 * 1024), 1 - (100 * 1024) / NEEDED[WEIGHTS]!.length],
    ["that is longer", (path: string) => writeFile(path, new Uint8Array(NEEDED[WEIGHTS]!.length + 1)), 1],
    ["that is gone", (path: string) => rm(path), 1],
  ] as const)("%s is noticed and mended", async (_, spoil, share) => {
    await open();
    await spoil(blob(WEIGHTS));
    server.forget();
    await open();
    await expectWhole();
    expect(server.sentOf()).toBe(Math.round(share * NEEDED[WEIGHTS]!.length));
  });

  test("that is small and spoilt is mended too, also where nobody would be asked", async () => {
    await open(`${ID}@${COMMIT}`);
    await writeFile(blob("model_index.json"), "{}".padEnd(NEEDED["model_index.json"]!.length));
    await open(`${ID}@${COMMIT}`);
    await expectWhole();
  });

  test("whose time did not change is compared when asked", async () => {
    await open();
    const then = new Date(1_700_000_000_000);
    await utimes(blob(WEIGHTS), then, then);
    await open();
    const bytes = await readFile(blob(WEIGHTS));
    bytes[5000]! ^= 4;
    await writeFile(blob(WEIGHTS), bytes);
    await utimes(blob(WEIGHTS), then, then);
    server.forget();
    await open();
    expect(server.content).toEqual([]);
    await open(ID, { recheck: true });
    await expectWhole();
    expect(server.sentOf()).toBe(bytes.length);
  });

  test("without its link in the snapshot is linked again", async () => {
    await open();
    await rm(snapshot(WEIGHTS));
    server.forget();
    await open();
    expect((await lstat(snapshot(WEIGHTS))).isSymbolicLink()).toBe(true);
    expect(server.content).toEqual([]);
  });

  test("that stands in the snapshot itself, as on systems without links, is enough", async () => {
    await open();
    await rm(snapshot(WEIGHTS));
    await rm(blob(WEIGHTS));
    await writeFile(snapshot(WEIGHTS), NEEDED[WEIGHTS]!);
    server.forget();
    await open();
    expect(server.content).toEqual([]);
  });
});

describe("a cache that is not as it should be", () => {
  test.each(["null", "5", "[]", "{", '{"blobs":{}}'])("what was compared is told as %s: all is compared again", async (told) => {
    await open();
    await writeFile(model(".cogwheel-checked.json"), told);
    await open();
    await expectWhole();
  });

  test("a file in the place of a folder, and a path that is too long, are told", async () => {
    await mkdir(model("snapshots"), { recursive: true });
    await writeFile(model("snapshots", COMMIT), "");
    await expect(open()).rejects.toThrow(
      /^\[hub\] some-org\/Some-Model_2b: the cache in .* must be writable, got (EEXIST|ENOTDIR) for \w+; check its permissions, or set HF_HUB_CACHE to another folder$/,
    );
    const long = `text_encoder/${"x".repeat(300)}.safetensors`;
    server.repos[ID]!.revisions["main"] = {
      commit: LATER,
      files: {
        ...NEEDED,
        "text_encoder/model.safetensors.index.json": text({ weight_map: { a: long.slice("text_encoder/".length) } }),
        [long]: NEEDED[SHARDS[0]]!,
      },
    };
    await expect(open()).rejects.toThrow(
      /^\[hub\] some-org\/Some-Model_2b: the cache in .* must be writable, got ENAMETOOLONG for \w+; check its permissions/,
    );
  });

  test("a link to another file's content is none, where only its name tells it", async () => {
    const file = { path: "x", size: 5, blob: "2".repeat(64), digest: null };
    const held = new HubCache(model());
    await mkdir(model("blobs"), { recursive: true });
    await writeFile(model("blobs", "3".repeat(64)), "other");
    await held.place(COMMIT, { ...file, blob: "3".repeat(64) });
    expect(await held.holds(COMMIT, file)).toBe(false);
    await writeFile(model("blobs", file.blob), "right");
    await held.place(COMMIT, file);
    expect(await held.holds(COMMIT, file)).toBe(true);
  });
});

describe("a hub that sends something else", () => {
  test("other bytes: refused, and nothing of them is kept", async () => {
    const wrong = NEEDED[WEIGHTS]!.slice();
    wrong[77]! ^= 1;
    server.instead.set(WEIGHTS, wrong);
    await expect(open()).rejects.toThrow(
      `[hub] ${ID}/${WEIGHTS}: the file must have the SHA-256 ${sha256(NEEDED[WEIGHTS]!)}, got ${sha256(wrong)}; it was changed on its way`,
    );
    expect(await exists(blob(WEIGHTS))).toBe(false);
    expect(await exists(`${blob(WEIGHTS)}.cogwheel-part`)).toBe(false);
    expect(await exists(snapshot(WEIGHTS))).toBe(false);
    server.instead.clear();
    await open();
    await expectWhole();
  });

  test("other bytes in a small file: refused by git's hash", async () => {
    server.instead.set("vae/config.json", text({ latent_channels: 5 }));
    await expect(open()).rejects.toThrow(
      `${ID}/vae/config.json: the file must have the git hash ${gitSha1(NEEDED["vae/config.json"]!)}, got`,
    );
  });

  test.each([
    ["shorter", -1],
    ["longer", 1],
  ])("a file that is %s: refused before it is read", async (_, by) => {
    server.instead.set(WEIGHTS, new Uint8Array(NEEDED[WEIGHTS]!.length + by));
    await expect(open()).rejects.toThrow(
      `[hub] ${ID}/${WEIGHTS}: the file must have ${NEEDED[WEIGHTS]!.length} bytes, got ${NEEDED[WEIGHTS]!.length + by}; ` +
        "the file changed on the hub, or a proxy answers in its place: run again",
    );
  });

  test("a size that is not the listed one: refused before it is asked for", async () => {
    server.listedSize.set(WEIGHTS, 1234567);
    await expect(open()).rejects.toThrow(
      `[hub] ${ID}: ${WEIGHTS} must have the 1234567 bytes that the hub lists, ` +
        `got ${NEEDED[WEIGHTS]!.length}; try again, or another endpoint`,
    );
    expect(server.sentOf("transformer%2F")).toBe(0);
  });

  test("a page instead of data", async () => {
    const page: typeof fetch = async () => new Response("<html>sign in</html>", { headers: { "content-type": "text/html" } });
    await expect(open(ID, { fetch: page })).rejects.toThrow(
      /^\[hub\] some-org\/Some-Model_2b: the hub at http:\/\/127.*must answer with its data, got a web page in its place; .*sign in/,
    );
  });
});

describe("errors", () => {
  test("no such repository", async () => {
    await expect(open("some-org/nothing")).rejects.toThrow(
      `[hub] some-org/nothing: must be a folder here or a repository that you may read at ${server.url}, ` +
        "got 401 (Invalid username or password.): there is none of that name, or it is private or gated; " +
        `check the name, or accept its licence at ${server.url}/some-org/nothing and set HF_TOKEN to a token that may read it`,
    );
    await expect(open("some-org/nothing", { token: "hf_any" })).rejects.toThrow(
      `[hub] some-org/nothing: must be a folder here or a repository at ${server.url}, got neither (404); check the name`,
    );
  });

  test("no such revision", async () => {
    await expect(open(`${ID}@nowhere`)).rejects.toThrow(
      `[hub] ${ID}: the revision must be in the repository, got "nowhere", which is not; leave it out for main`,
    );
  });

  test("a gated repository", async () => {
    Object.assign(server.repos[ID]!, { token: "hf_right", gated: true });
    const rule = (status: number, access: string): string =>
      `[hub] ${ID}: a gated repository must be opened to you, got ${status} (Access to model ${ID} is restricted.); ` +
      `accept its licence at ${server.url}/${ID} and ${access}`;
    await expect(open()).rejects.toThrow(rule(401, "set HF_TOKEN to a token that may read it"));
    process.env["HF_TOKEN"] = "hf_wrong";
    await expect(open()).rejects.toThrow(rule(403, "check that the token in HF_TOKEN may read it"));
  });

  test("a repository without a checkpoint, and a variant that it has not", async () => {
    const { files } = server.repos[ID]!.revisions["main"]!;
    await expect(open(ID, {}, { variant: "bf16" })).rejects.toThrow(
      /^\[hub\] some-org\/Some-Model_2b: the repository must hold a checkpoint in diffusers' layout with safetensors, got no text_encoder\/model\.bf16\.safetensors, transformer\/diffusion_pytorch_model\.bf16\.safetensors, vae.* beside .*transformer\/diffusion_pytorch_model\.fp16\.safetensors/,
    );
    expect(server.seen.filter(({ at }) => at === "store")).toEqual([]);
    delete files["model_index.json"];
    await expect(open()).rejects.toThrow("got no model_index.json");
    await expect(open(ID, {}, { variant: "../x" })).rejects.toThrow("a variant must be a word such as fp16");
  });

  test("not enough room on the disk, told before the first byte", async () => {
    server.listedSize.set(WEIGHTS, 8e15);
    await expect(open()).rejects.toThrow(
      /^\[hub\] some-org\/Some-Model_2b: the download needs 8000000\.\d GB on the disk of .*, got [\d.]+ [GM]B free; make room, or set HF_HUB_CACHE to a folder on another disk$/,
    );
    expect(server.seen.filter(({ at }) => at === "store")).toEqual([]);
  });

  test.each([".", ".locks"])("a cache that cannot be written to, for a file that stands at %s", async (where) => {
    await mkdir(join(cache(), where, ".."), { recursive: true });
    await writeFile(join(cache(), where), "");
    await expect(open()).rejects.toThrow(
      /: the cache must be writable, got (ENOTDIR|EEXIST); check its permissions, or set HF_HUB_CACHE to another folder$/,
    );
  });

  test("an option that there is not, an endpoint that is none", async () => {
    await expect(open(ID, { branch: "main" } as HubOptions)).rejects.toThrow(
      "[hub] options must be revision, endpoint, token, cache, offline, download, recheck, signal, onProgress, " +
        "onWarning, fetch, stallSeconds, got branch; correct the name",
    );
    await expect(open(ID, { endpoint: "hub.local" })).rejects.toThrow(
      '[hub] the endpoint must be an http(s) URL without query, got "hub.local"; correct HF_ENDPOINT or the endpoint option',
    );
  });

  test("a hub that is busy is asked again", async () => {
    server.failures.push(503, 429);
    await open();
    await expectWhole();
  });

  test.each(["1", new Date(Date.now() + 86_400_000).toUTCString()])(
    "a store that says when to come back is asked then, not before (Retry-After: %s)",
    async (when) => {
      // Of the file's content, so in the download itself; a date a day off is as long as the stall's time.
      const busy: number[] = [];
      const fetch: typeof globalThis.fetch = async (input, init) => {
        const question = new Headers(init?.headers).get("range") === "bytes=0-0";
        if (question || !String(input).startsWith(server.storeUrl) || busy.length > 3) return globalThis.fetch(input, init);
        busy.push(performance.now());
        return new Response(null, { status: 503, headers: { "retry-after": when } });
      };
      await open(ID, { fetch, stallSeconds: 1 }, { only: ["vae"] });
      expect(busy.length).toBe(4);
      for (let i = 1; i < busy.length; i++) expect(busy[i]! - busy[i - 1]!).toBeGreaterThan(900);
    },
    20_000,
  );

  test("a hub that cannot be reached: the cache does, or the error says so", async () => {
    process.env["HF_ENDPOINT"] = "http://127.0.0.1:1";
    await expect(open()).rejects.toThrow(
      /^\[hub\] some-org\/Some-Model_2b: the hub at http:\/\/127\.0\.0\.1:1 must answer, got .+; check the network, or HF_ENDPOINT$/,
    );
    process.env["HF_ENDPOINT"] = server.url;
    await open();
    process.env["HF_ENDPOINT"] = "http://127.0.0.1:1";
    const warnings: string[] = [];
    expect(await open(ID, { onWarning: (message) => void warnings.push(message) })).toContain(WEIGHTS);
    // What this commit lacks cannot be had now.
    await expect(open(ID, {}, { variant: "fp16", only: ["transformer"] })).rejects.toThrow("must answer");
    expect(warnings).toEqual([expect.stringMatching(/must answer, got .* The cached files of main are used\.$/)]);
  });
});

describe("HF_HUB_OFFLINE", () => {
  beforeEach(() => void (process.env["HF_HUB_OFFLINE"] = "1"));
  const online = (options?: HubOptions, what?: Omit<OpenSourceOptions, "hub">): Promise<string[]> =>
    open(ID, { ...options, offline: false }, what);

  test("opens what is cached without any request", async () => {
    await online();
    server.forget();
    expect(await open()).toEqual(Object.keys(NEEDED).sort());
    expect(server.seen).toEqual([]);
  });

  test("names what is missing", async () => {
    await expect(open()).rejects.toThrow(
      `[hub] ${ID}: all files must be in the cache when HF_HUB_OFFLINE is set, ` +
        `got nothing of this revision in ${model()}; download once while the hub can be reached`,
    );
    await online({}, { only: ["scheduler", "text_encoder"] });
    await rm(snapshot(SHARDS[1]));
    await expect(open()).rejects.toThrow(
      `got no ${SHARDS[1]}, tokenizer/spiece.model, transformer/config.json, ${WEIGHTS}, vae/config.json, ` +
        `${VAE} in ${snapshot().replace(/\/$/, "")}; download once while the hub can be reached`,
    );
    expect(await open(ID, {}, { only: ["scheduler"] })).toContain("scheduler/scheduler_config.json");
    expect(server.seen.some(({ path }) => path.includes(SHARDS[1]!.slice(-20)))).toBe(true);
  });

  test("names what is spoilt", async () => {
    await online();
    const bytes = await readFile(blob(VAE));
    bytes[9000]! ^= 1;
    await writeFile(blob(VAE), bytes);
    await expect(open()).rejects.toThrow(
      `got ${VAE} with another content than the hash says; download once while the hub can be reached, which mends it`,
    );
    await writeFile(blob("model_index.json"), "{".repeat(NEEDED["model_index.json"]!.length));
    await expect(open()).rejects.toThrow("got model_index.json with another content than the hash says");
    await online();
    await expectWhole();
  });
});

describe("the environment", () => {
  test("HF_HUB_CACHE and the cache option say where", async () => {
    process.env["HF_HUB_CACHE"] = join(home, "elsewhere");
    await open(ID, {}, { only: ["scheduler"] });
    expect(await readdir(join(home, "elsewhere"))).toContain("models--some-org--Some-Model_2b");
    await open(ID, { cache: join(home, "third") }, { only: ["scheduler"] });
    expect(await readdir(join(home, "third"))).toContain("models--some-org--Some-Model_2b");
    expect(await exists(cache())).toBe(false);
  });

  test("the endpoint option goes before HF_ENDPOINT; a slash at its end is no matter", async () => {
    process.env["HF_ENDPOINT"] = "http://127.0.0.1:1";
    await open(ID, { endpoint: `${server.url}/` }, { only: ["scheduler"] });
    expect(server.seen.every(({ path }) => !path.startsWith("//"))).toBe(true);
  });

  test.each([
    ["HF_TOKEN", async (): Promise<void> => void (process.env["HF_TOKEN"] = "hf_right\n"), {}],
    ["the file of the command line", () => writeFile(join(home, "token"), "hf_right\n"), {}],
    ["the option", async (): Promise<void> => void (process.env["HF_TOKEN"] = "hf_wrong"), { token: "hf_right" }],
  ] as const)("the token of %s goes to the endpoint and nowhere else", async (_, give, options) => {
    server.repos[ID]!.token = "hf_right";
    await give();
    await open(ID, options);
    await expectWhole();
    const at = (place: string): Set<string | undefined> =>
      new Set(server.seen.filter((seen) => seen.at === place).map(({ authorization }) => authorization));
    expect(at("hub")).toEqual(new Set(["Bearer hf_right"]));
    expect(at("store")).toEqual(new Set([undefined]));
  });

  test("no token is sent where none is wanted", async () => {
    process.env["HF_TOKEN"] = "hf_right";
    await open(ID, { token: null }, { only: ["scheduler"] });
    process.env["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1";
    await open(ID, {}, { only: ["scheduler"] });
    expect(server.seen.filter(({ authorization }) => authorization !== undefined)).toEqual([]);
  });
});

describe("two at once", () => {
  test("in one process: one downloads, the other waits", async () => {
    const phases = new Set<string>();
    server.pace = () => new Promise((done) => setTimeout(done, 3));
    const onProgress = ({ phase }: HubProgress): void => void phases.add(phase);
    await Promise.all([1, 2, 3].map(() => open(ID, { onProgress })));
    await expectWhole();
    expect(server.sentOf()).toBe(ALL);
    // Who waited believes who downloaded, and compares nothing again.
    expect(phases).toEqual(new Set(["download", "wait"]));
  });

  test("in two processes: every byte is sent once", async () => {
    const script = await bundle();
    server.pace = () => new Promise((done) => setTimeout(done, 3));
    const run = (): Promise<string> => output(script, ID);
    expect(await Promise.all([run(), run()])).toEqual([String(Object.keys(NEEDED).length), String(Object.keys(NEEDED).length)]);
    await expectWhole();
    expect(server.sentOf()).toBe(ALL);
  });

  test("a process that is killed is succeeded by the next, which goes on", async () => {
    const script = await bundle();
    server.pace = () => new Promise((done) => setTimeout(done, 10));
    const child = openIn(script, ID);
    const closed = new Promise((done) => child.once("close", done));
    const part = `${blob(WEIGHTS)}.cogwheel-part`;
    await expect.poll(async () => (await stat(part).catch(() => null))?.size ?? 0, { timeout: 20_000 }).toBeGreaterThan(100 * 1024);
    child.kill("SIGKILL");
    await closed;
    const kept = (await stat(part)).size;
    server.pace = undefined;
    server.forget();
    await open();
    await expectWhole();
    expect(server.sentOf("transformer%2F")).toBe(NEEDED[WEIGHTS]!.length - kept);
  });

  test("a lock that nobody touches any more is taken over, one at a time", async () => {
    const lock = join(home, "x.lock");
    await writeFile(lock, JSON.stringify({ pid: 1, host: "another-host", key: "old" }));
    const long = new Date(Date.now() - 120_000);
    await utimes(lock, long, long);
    let inside = 0,
      most = 0;
    await Promise.all(
      Array.from({ length: 6 }, () =>
        withLock(lock, async () => {
          most = Math.max(most, ++inside);
          await new Promise((done) => setTimeout(done, 10));
          inside--;
        }),
      ),
    );
    expect(most).toBe(1);
    expect(await exists(lock)).toBe(false);
  });

  test("waiting for a lock ends with the signal", async () => {
    const lock = join(home, "x.lock");
    const stop = new AbortController();
    await withLock(lock, async () => {
      await expect(
        withLock(lock, async () => undefined, { signal: stop.signal, onWait: () => stop.abort(new Error("no more")) }),
      ).rejects.toThrow("no more");
    });
  });
});

describe("read where it lies", () => {
  test("by ranges, from the revision's commit, nothing kept", async () => {
    await using checkpoint = await openCheckpoint(await openSource(ID, { hub: { download: false } }));
    expect(checkpoint.source.label).toBe(`${server.url}/${ID}/resolve/${COMMIT}/`);
    expect((await checkpoint.component("transformer").weights!.read("w", { rowStart: 599 })).bytes.length).toBe(1024);
    expect(server.sentOf()).toBeLessThan(ALL / 10);
    expect(await exists(model())).toBe(false);
  });

  test("from the cache where it is complete", async () => {
    await open();
    server.forget();
    await using source = await openSource(ID, { hub: { download: false } });
    expect(source.label).toBe(snapshot().replace(/\/$/, ""));
    expect(server.seen).toEqual([]);
  });

  test("as a browser does, with endpoint and token", async () => {
    server.repos[ID]!.token = "hf_right";
    await using source = await openInBrowser(ID, { hub: { endpoint: server.url, token: "hf_right" } });
    await using checkpoint = await openCheckpoint(source);
    expect(checkpoint.className).toBe("CogVideoXPipeline");
    const authorizations = (at: string): Set<string | undefined> =>
      new Set(server.seen.filter((seen) => seen.at === at).map(({ authorization }) => authorization));
    expect(authorizations("hub")).toEqual(new Set(["Bearer hf_right"]));
    expect(authorizations("store")).toEqual(new Set([undefined]));
    await expect(hubHttpSource({ name: ID, revision: "nowhere" }, { endpoint: server.url, token: "hf_right" })).rejects.toThrow(
      "the revision must be in the repository",
    );
  });

  test("in a browser a folder beside the page wins", async () => {
    // The page's own address is a repository's, so that relative URLs are folders in it.
    Object.defineProperty(globalThis, "location", { value: { href: `${server.url}/${ID}/resolve/` }, configurable: true });
    try {
      server.repos[ID]!.revisions["main"]!.files["x/model_index.json"] = NEEDED["model_index.json"]!;
      const label = async (from: string): Promise<string> => {
        await using source = await openInBrowser(from, { hub: { endpoint: server.url } });
        return source.label;
      };
      expect(await label("main/x")).toBe(`${server.url}/${ID}/resolve/main/x/`);
      expect(await label(ID)).toBe(`${server.url}/${ID}/resolve/${COMMIT}/`);
      server.forget();
      expect(await label("main")).toBe(`${server.url}/${ID}/resolve/main/`);
      expect(server.seen).toEqual([]);
    } finally {
      delete (globalThis as { location?: unknown }).location;
    }
  });
});

describe("the client", () => {
  test("is not loaded by who opens folders", async () => {
    const script = await bundle({ "@huggingface/hub": "nowhere-to-be-found" });
    await mkdir(join(home, "folder"));
    await writeFile(join(home, "folder", "model_index.json"), "{}");
    expect(await output(script, join(home, "folder"))).toBe("1");
    expect(await output(script, ID)).toContain("Cannot find package 'nowhere-to-be-found'");
  });

  test("is not given the token, wherever it goes", async () => {
    const sent: (string | null)[] = [];
    const spy: typeof fetch = async (_, init) => (sent.push(new Headers(init?.headers).get("authorization")), new Response("{}"));
    const request = hubFetch({ name: ID, revision: "main", endpoint: server.url, token: "hf_secret", fetch: spy });
    for (const url of [`${server.url}/api`, `${server.storeUrl}/api`, new Request(`${server.storeUrl}/api`)])
      await request(url, { headers: { Authorization: "Bearer hf_secret" } });
    expect(sent).toEqual(["Bearer hf_secret", null, null]);
  });
});
