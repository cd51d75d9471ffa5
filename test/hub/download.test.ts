/** Downloads: what is asked for, what goes on after an interruption, and what a client gets. */
import { spawn } from "node:child_process";
import { mkdir, readFile, readdir, readlink, rm, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { scanCacheDir } from "@huggingface/hub";
import { describe, expect, test } from "vitest";
import { hubFetch } from "../../src/hub/fetch.ts";
import type { HubProgress } from "../../src/hub/id.ts";
import {
  ALL,
  LATER,
  blob,
  bundle,
  cache,
  exists,
  expectWhole,
  home,
  model,
  open,
  output,
  server,
  snapshot,
  useHub,
} from "../support/hub-cache.ts";
import { COMMIT, ID, NEEDED, VAE, WEIGHTS, text, weights } from "../support/hub-checkpoint.ts";
import { gitSha1, sha256 } from "../support/hub-server.ts";

useHub();

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
