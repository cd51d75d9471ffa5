/** A hub that sends something else, and what errors tell. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { HubOptions } from "../../src/hub/id.ts";
import { blob, cache, exists, expectWhole, open, server, snapshot, useHub } from "../support/hub-cache.ts";
import { ID, NEEDED, WEIGHTS, text } from "../support/hub-checkpoint.ts";
import { gitSha1, sha256 } from "../support/hub-server.ts";

useHub();

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
