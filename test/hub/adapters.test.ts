/** An adapter is the file that its address names, on the hub, on other servers and in the cache; never another. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { openSource as openInBrowser } from "../../src/hub/open-browser.ts";
import { openSource } from "../../src/hub/open-node.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { loadLora } from "../../src/pipelines/lora-file.ts";
import { COMMIT, ID } from "../support/hub-checkpoint.ts";
import { HubServer, sha256 } from "../support/hub-server.ts";

/** An adapter that is told from others by one value. */
const adapter = (mark: number): Uint8Array<ArrayBuffer> =>
  writeSafetensors({ "proj_out.lora_A.weight": { dtype: "F32", shape: [1, 1], data: Float32Array.of(mark) } });
const FILES: Record<string, Uint8Array<ArrayBuffer>> = {
  "pytorch_lora_weights.safetensors": adapter(1),
  "other.safetensors": adapter(2),
  "x.safetensors": adapter(3),
  "transformer/x.safetensors": adapter(4),
  "loras/x.safetensors": adapter(5),
  "loras/pytorch_lora_weights.safetensors": adapter(6),
  "loras/a b.safetensors": adapter(7),
};
const markOf = async (from: string | URL): Promise<number> => (await loadLora(from)).tensors.get("proj_out.lora_A.weight")!.data[0]!;

let server: HubServer;
let home: string;
const before = { ...process.env };
beforeAll(async () => {
  server = await HubServer.start();
  server.repos[ID] = { revisions: { main: { commit: COMMIT, files: FILES } } };
  home = await realpath(await mkdtemp(join(tmpdir(), "cogwheel-hub-adapters-")));
});
beforeEach(() => {
  for (const name of ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"]) delete process.env[name];
  Object.assign(process.env, { HF_HOME: home, HF_ENDPOINT: server.url });
  server.forget();
});
afterAll(async () => {
  for (const name of ["HF_HOME", "HF_ENDPOINT", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"]) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
  await server[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

describe("on the hub", () => {
  test.each([
    ["URL/resolve/main/other.safetensors", 2],
    ["URL/resolve/main/other.safetensors?download=true", 2],
    ["URL/blob/main/other.safetensors#L1", 2],
    ["URL/resolve/main/transformer/x.safetensors", 4],
    ["URL/resolve/main/loras/x.safetensors", 5],
    ["URL/blob/main/loras/x.safetensors?download=true", 5],
    [`hf://${ID}/loras/x.safetensors`, 5],
    [`hf://${ID}@main/loras/x.safetensors`, 5],
    ["URL/blob/main/loras/a%20b.safetensors", 7],
    ["URL", 1],
    ["URL/tree/main/loras", 6],
    [ID, 1],
  ] as const)("%s", async (address, mark) => expect(await markOf(address.replace("URL", `${server.url}/${ID}`))).toBe(mark));

  test("the same in a browser, and a page of no model is no adapter", async () => {
    await using source = await openInBrowser(`hf://${ID}/loras/`, { hub: { endpoint: server.url }, anyFile: true });
    expect(await source.size("x.safetensors")).toBe(FILES["loras/x.safetensors"]!.length);
    await expect(loadLora(`hf://datasets/${ID}/x.safetensors`)).rejects.toThrow("got a page of datasets");
    await expect(loadLora(`hf://${ID}/../x.safetensors`)).rejects.toThrow("a path must be relative and stay inside");
  });
});

test("on another server: a signature in the address stays with it", async () => {
  const seen: string[] = [];
  const signed = createServer((request, response) => {
    seen.push(request.url!);
    if (request.url === "/store/my%20x.safetensors?sig=a%2Fb") response.writeHead(200).end(adapter(9));
    else response.writeHead(403).end();
  });
  await new Promise<void>((done) => signed.listen(0, "127.0.0.1", done));
  try {
    expect(await markOf(`http://127.0.0.1:${(signed.address() as AddressInfo).port}/store/my%20x.safetensors?sig=a%2Fb`)).toBe(9);
    expect(new Set(seen)).toEqual(new Set(["/store/my%20x.safetensors?sig=a%2Fb"]));
  } finally {
    await new Promise((done) => signed.close(done));
  }
});

test("on this machine: names with ? and # in them, and a file's address", async () => {
  const folder = join(home, "here");
  await mkdir(folder);
  for (const [name, mark] of [
    ["a#1?.safetensors", 10],
    ["b c.safetensors", 11],
  ] as const)
    await writeFile(join(folder, name), adapter(mark));
  expect(await markOf(join(folder, "a#1?.safetensors"))).toBe(10);
  expect(await markOf(pathToFileURL(join(folder, "b c.safetensors")))).toBe(11);
  // What is here wins over the page that its name looks like.
  const there = process.cwd();
  try {
    process.chdir(folder);
    await mkdir("hf.co/datasets/x", { recursive: true });
    await using source = await openSource("hf.co/datasets/x");
    expect(await source.list()).toEqual([]);
  } finally {
    process.chdir(there);
  }
});

describe("in the cache", () => {
  const model = (...parts: string[]): string => join(home, "hub", `models--${ID.replace("/", "--")}`, ...parts);
  beforeAll(async () => {
    // As other clients of the hub leave it.
    for (const folder of ["blobs", "refs", `snapshots/${COMMIT}/loras`]) await mkdir(model(folder), { recursive: true });
    await writeFile(model("refs/main"), COMMIT);
    const bytes = FILES["loras/x.safetensors"]!;
    await writeFile(model("blobs", sha256(bytes)), bytes);
    await symlink(`../../../blobs/${sha256(bytes)}`, model("snapshots", COMMIT, "loras/x.safetensors"));
  });
  const address = `hf://${ID}/loras/x.safetensors`;

  test("offline: opened from there without any request, or refused", async () => {
    process.env["HF_HUB_OFFLINE"] = "1";
    expect(await markOf(address)).toBe(5);
    await expect(loadLora(`hf://${ID}/other.safetensors`)).rejects.toThrow("[checkpoint] other.safetensors: ");
    await expect(loadLora(`hf://${ID}@v2/loras/x.safetensors`)).rejects.toThrow(
      `[hub] ${ID}@v2: all files must be in the cache when HF_HUB_OFFLINE is set, ` +
        `got nothing of this revision in ${model()}; download it with the hub's command line`,
    );
    expect(server.seen).toEqual([]);
  });

  test("the hub's option says the same", async () => {
    await using source = await openSource(address.replace("x.safetensors", ""), { anyFile: true, hub: { offline: true } });
    expect([await source.exists("x.safetensors"), await source.exists("y.safetensors")]).toEqual([true, false]);
    expect(server.seen).toEqual([]);
  });

  test("online: not fetched again, what is not there is", async () => {
    expect(await markOf(address)).toBe(5);
    expect(server.content).toEqual([]);
    expect(await markOf(`hf://${ID}/other.safetensors`)).toBe(2);
    expect(server.content.length).toBeGreaterThan(0);
  });

  test("a hub that cannot be reached: the cache does", async () => {
    process.env["HF_ENDPOINT"] = "http://127.0.0.1:1";
    expect(await markOf(address)).toBe(5);
  });

  test("with another content than its hash: fetched, or offline refused", async () => {
    const bytes = FILES["loras/x.safetensors"]!.slice();
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(model("blobs", sha256(FILES["loras/x.safetensors"]!)), bytes);
    expect(await markOf(address)).toBe(5);
    process.env["HF_HUB_OFFLINE"] = "1";
    await expect(loadLora(address)).rejects.toThrow(
      "a file of the cache must be what its hash says, got another content of loras/x.safetensors;",
    );
  });
});
