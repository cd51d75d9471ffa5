/** What is opened: ids and revisions, what the user's variables say, and what is there without a network. */
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { chooseRevision, parseHubId } from "../../src/hub/id.ts";
import type { HubOptions } from "../../src/hub/id.ts";
import { openSource } from "../../src/hub/open-node.ts";
import type { OpenSourceOptions } from "../../src/hub/open-options.ts";
import { blob, cache, exists, expectWhole, home, model, open, server, snapshot, useHub } from "../support/hub-cache.ts";
import { ID, NEEDED, SHARDS, VAE, WEIGHTS } from "../support/hub-checkpoint.ts";

useHub();

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
