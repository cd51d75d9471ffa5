/** Servers that lie, drip, fall silent or never end: refused in words, in time, without taking more than was asked for. */
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { parseHubAddress, parseHubFolder } from "../../src/hub/address.ts";
import { httpSource } from "../../src/sources/http.ts";
import { openSource } from "../../src/hub/open-node.ts";
import { CogwheelError } from "../../src/base/errors.ts";
import { Tally } from "../fuzz/kind.ts";
import { servers } from "../fuzz/servers.ts";
import { attack, ATTACKS, type Attack } from "../support/hostile-server.ts";
import { COMMIT, ID, NEEDED, VAE } from "../support/hub-checkpoint.ts";
import { HubServer } from "../support/hub-server.ts";

let home: string;
beforeAll(async () => void (home = await mkdtemp(join(tmpdir(), "cogwheel-servers-"))));
afterAll(() => rm(home, { recursive: true, force: true }));

const DOORS = ["ranges", "the hub by ranges", "the hub's download"] as const;
let folders = 0;

/** Opens as a model is opened and reads a weight, of a hub that `choose` makes hostile. Gives the first bytes read, or the error. */
async function open(
  door: (typeof DOORS)[number],
  choose: (request: IncomingMessage, index: number, at: "hub" | "store") => Attack | undefined,
  stallSeconds = 0.3,
): Promise<{ got: Uint8Array | Error; seconds: number; sent: number }> {
  await using server = await HubServer.start();
  server.repos[ID] = { revisions: { main: { commit: COMMIT, files: NEEDED } } };
  let index = 0;
  const counts = (["hub", "store"] as const).map((at) => attack(server[at], (request) => choose(request, index++, at)));
  const from = performance.now();
  const got = await (async () => {
    const hub = {
      endpoint: server.url,
      cache: join(home, String(folders++)),
      token: null,
      stallSeconds,
      download: door === "the hub's download",
    };
    await using checkpoint = await openCheckpoint(
      door === "ranges" ? httpSource(`${server.url}/${ID}/resolve/main`, { stallSeconds }) : await openSource(ID, { hub }),
    );
    return (await checkpoint.component("vae").weights!.read("v")).bytes;
  })().catch((error: Error) => error);
  return { got, seconds: (performance.now() - from) / 1000, sent: counts.reduce((sum, { sent }) => sum + sent, 0) };
}

/** What is wrong with how an attack ended; undefined where it was refused in words or seen through. */
async function judge(door: (typeof DOORS)[number], name: string, after: number): Promise<string | undefined> {
  const { got, seconds, sent } = await open(door, (_, index) => (index >= after ? ATTACKS[name] : undefined));
  const wrong = (what: string): string => `a server that ${name} from answer ${after} on: ${what}`;
  if (got instanceof Error) {
    if (!(got instanceof CogwheelError)) return wrong(`a foreign error, ${got.stack}`);
    if (!/^\[(hub|checkpoint)\] .*got .*; /s.test(got.message) || got.message.length > 2000) return wrong(got.message);
  } else if (Buffer.compare(got, NEEDED[VAE]!.subarray(-got.length)) !== 0) return wrong("other bytes");
  if (seconds > 30) return wrong(`${seconds} s`);
  // What the sockets' buffers take before they are closed is on its way already.
  return sent > 40e6 ? wrong(`${sent} bytes received`) : undefined;
}

test.each(DOORS)(
  "%s: whatever a server does, it is refused in words, in time",
  async (door) => {
    const found = await Promise.all(Object.keys(ATTACKS).flatMap((name) => [judge(door, name, 0), judge(door, name, 9)]));
    expect(found.filter((wrong) => wrong !== undefined)).toEqual([]);
  },
  120_000,
);

test.each(DOORS)(
  "%s: a server that fails once is no matter",
  async (door) => {
    const names = ["hangs up", "never answers", "drips its head", "answers 503 for ever", "speaks no HTTP"];
    const found = await Promise.all(
      names.map(async (name) => [name, (await open(door, (_, index) => (index === 6 ? ATTACKS[name] : undefined), 3)).got] as const),
    );
    for (const [name, got] of found) expect(got, name).toBeInstanceOf(Uint8Array);
  },
  60_000,
);

test("a sample of the fuzzing: processes of their own, their memory watched, and honest downloads after broken ones", async () => {
  const tally = new Tally();
  await servers.run({ count: 12, seed: 3, dtype: "f32", keep: home, log: () => undefined }, tally);
  expect(tally.faults).toEqual([]);
  expect(tally.tried).toBe(12);
}, 120_000);

/** A server of one's own, and what it was told. */
async function serve(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ url: string; seen: IncomingMessage[] } & AsyncDisposable> {
  const seen: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    seen.push(request);
    answer(request, response);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
const sends =
  (text: string) =>
  (_: IncomingMessage, response: ServerResponse): void =>
    void response.writeHead(200).end(text);

describe("an app's headers", () => {
  const headers = { "x-api-key": "k", Authorization: "Bearer t", Cookie: "c=1" };

  test("go to their own host, through its redirects, and to no other", async () => {
    await using other = await serve(sends("there"));
    await using own = await serve((request, response) =>
      request.url === "/m/a"
        ? void response.writeHead(302, { location: "/elsewhere" }).end()
        : void response.writeHead(307, { location: `${other.url}/b` }).end(),
    );
    await using source = httpSource(`${own.url}/m`, { headers });
    expect(new TextDecoder().decode(await source.read("a", 0, 5))).toBe("there");
    for (const { headers } of own.seen)
      expect([headers["x-api-key"], headers.authorization, headers.cookie]).toEqual(["k", "Bearer t", "c=1"]);
    for (const { headers } of other.seen)
      expect([headers["x-api-key"], headers.authorization, headers.cookie, headers.range]).toEqual([
        undefined,
        undefined,
        undefined,
        "bytes=0-0",
      ]);
    expect([own.seen.length, other.seen.length]).toEqual([2, 1]);
  });

  test("that cannot be sent are refused, and not told", async () => {
    for (const headers of [{ "x-api-key": "top\nsecret" }, { "x-api-key": "top secret €" }, { "x api key": "top secret" }] as Record<
      string,
      string
    >[]) {
      let message = "";
      try {
        httpSource("https://a.example", { headers });
      } catch (error) {
        message = (error as Error).message;
      }
      expect(message).toMatch(/^\[checkpoint\] a header must be a name .*, got another for "x.api.key"; look for line breaks/);
      expect(message).not.toContain("secret");
    }
    const refused = await openSource(ID, {
      hub: { endpoint: "https://a.example", token: "hf_top\nsecret", cache: join(home, "token") },
    }).catch((error: Error) => error.message);
    expect(refused).toBe(
      `[hub] ${ID}: the token must be one line of letters and digits, got other characters in it; ` +
        "look at HF_TOKEN, or at the file that the hub's command line keeps it in",
    );
  });

  test("are not sent by a browser that follows redirects unseen; a token alone is taken off by it", async () => {
    // A browser's fetch as it answers to redirect: "manual".
    const modes: (string | undefined)[] = [];
    const opaque: typeof fetch = async (_, init) =>
      modes.push(init!.redirect) && init!.redirect === "manual"
        ? Object.defineProperty(new Response(null), "type", { value: "opaqueredirect" })
        : new Response("x");
    await using keyed = httpSource("https://a.example/", { headers, fetch: opaque });
    await expect(keyed.size("m")).rejects.toThrow(
      "[checkpoint] m: the server must answer, got a redirect, " +
        "which a browser would follow with the header x-api-key, Cookie wherever it leads; use another server",
    );
    await using plain = httpSource("https://a.example/", { headers: { authorization: "Bearer t" }, fetch: opaque });
    expect(await plain.size("m")).toBe(1);
    // Once it is known not to tell, it is not asked in vain; an app's own headers still keep it from following.
    expect(await plain.size("n")).toBe(1);
    expect(modes).toEqual(["manual", "follow", "follow"]);
    await expect(keyed.size("n")).rejects.toThrow("which a browser would follow");
  });
});

describe("waiting", () => {
  test("ends at once when it is told, before the head and in the body", async () => {
    for (const name of ["never answers", "stops in its body", "drips its head"]) {
      await using server = await serve((request, response) => ATTACKS[name]!(request, response, () => undefined));
      const stop = new AbortController();
      await using source = httpSource(server.url, { signal: stop.signal });
      const from = performance.now();
      setTimeout(() => stop.abort(new Error("enough")), 100);
      await expect(source.read("m", 0, 1000)).rejects.toThrow("enough");
      expect(performance.now() - from, name).toBeLessThan(2000);
    }
  });

  test("takes the time that is told, of all numbers that are one", async () => {
    await using server = await serve(() => undefined);
    await using source = httpSource(server.url, { stallSeconds: 0.2 });
    const from = performance.now();
    await expect(source.size("m")).rejects.toThrow(
      "[checkpoint] m: the server must answer, got nothing for 0.2 s; check the URL, the network",
    );
    expect(performance.now() - from).toBeLessThan(5000);
    for (const stallSeconds of [0, -1, NaN, 1e9])
      expect(() => httpSource(server.url, { stallSeconds })).toThrow(
        `[checkpoint] stallSeconds must be a number above 0 and up to 86400, got ${stallSeconds}; leave it out for 30`,
      );
    await expect(openSource(ID, { hub: { stallSeconds: -1 } })).rejects.toThrow("[hub] stallSeconds must be a number above 0");
  });

  /** What a process of its own says, with nothing else that keeps it alive. */
  async function alone(body: string): Promise<{ code: number | null; out: string; seconds: number }> {
    const from = performance.now();
    const child = spawn(process.execPath, [
      "--input-type=module",
      "-e",
      `import { httpSource } from ${JSON.stringify(resolve(import.meta.dirname, "../../dist/node.js"))};\n${body}`,
    ]);
    let out = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (out += data.toString()));
    const code = await new Promise<number | null>((done) => child.once("close", done));
    return { code, out: out.trim(), seconds: (performance.now() - from) / 1000 };
  }

  test("holds a process of its own until there is a word, and then lets it go", async () => {
    await using silent = await serve(() => undefined);
    await using endless = await serve((request, response) => ATTACKS["sends a range that never ends"]!(request, response, () => undefined));
    const read = (url: string, stallSeconds: number): string =>
      `httpSource(${JSON.stringify(url)}, { stallSeconds: ` +
      `${stallSeconds} }).size("m").then((n) => console.log(n), (e) => console.log(e.message));`;
    const [first, second] = await Promise.all([alone(read(silent.url, 0.3)), alone(read(endless.url, 10))]);
    expect(first).toMatchObject({ code: 0, out: expect.stringContaining("got nothing for 0.3 s;") });
    expect(second).toMatchObject({ code: 0, out: String(1 << 20) });
    for (const { seconds } of [first, second]) expect(seconds).toBeLessThan(30);
  });
});

test("the command says of a gated repository, a page to sign in and no repository what is the matter, and ends", async () => {
  await using server = await HubServer.start();
  server.repos[ID] = { revisions: { main: { commit: COMMIT, files: NEEDED } }, token: "t", gated: true };
  await using portal = await serve((request, response) => ATTACKS["sends a page"]!(request, response, () => undefined));
  const inspect = async (endpoint: string, model: string): Promise<string> => {
    const env = { ...process.env, HF_ENDPOINT: endpoint, HF_HOME: join(home, "command"), HF_TOKEN: "" };
    const child = spawn(process.execPath, [resolve(import.meta.dirname, "../../dist/launch.js"), "inspect", model], { env });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (said += data.toString()));
    const code = await new Promise<number | null>((done) => child.once("close", done));
    return `${code}: ${said}`;
  };
  const [gated, page, none] = await Promise.all([
    inspect(server.url, `${server.url}/${ID}/tree/main`),
    inspect(portal.url, ID),
    inspect(server.url, "some-org/none"),
  ]);
  expect(gated).toContain(`3: [hub] ${ID}: a gated repository must be opened to you, got 401`);
  expect(page).toContain(`3: [hub] ${ID}: the hub at ${portal.url} must answer with its data, got a web page in its place;`);
  expect(none).toContain("3: [hub] some-org/none: must be a folder here or a repository that you may read");
}, 60_000);

describe("a page's address", () => {
  const E = "https://mirror.example/hub";
  test.each([
    ["https://huggingface.co/org/name", "org/name", null],
    ["https://huggingface.co/org/name/", "org/name", null],
    ["http://www.huggingface.co/org/name?library=diffusers#files", "org/name", null],
    ["HTTPS://HuggingFace.co/org/name", "org/name", null],
    ["https://hf.co/org/name", "org/name", null],
    ["huggingface.co/org/name", "org/name", null],
    ["hf.co/org/name/tree/v1", "org/name", "v1"],
    ["https://huggingface.co/org/name/tree/main", "org/name", "main"],
    ["https://huggingface.co/org/name/tree/main/transformer", "org/name", "main"],
    ["https://huggingface.co/org/name/tree/refs%2Fpr%2F7", "org/name", "refs/pr/7"],
    ["https://huggingface.co/org/name/blob/main/model_index.json", "org/name", "main"],
    ["https://huggingface.co/org/name/blob/main/README.md", "org/name", "main"],
    ["https://huggingface.co/org/name/blob/main/vae/config.json", "org/name", "main"],
    ["https://huggingface.co/org/name/resolve/main/", "org/name", "main"],
    ["https://huggingface.co/org/name/resolve/main/transformer/diffusion_pytorch_model.safetensors?download=true", "org/name", "main"],
    ["https://huggingface.co/org/name/resolve/refs/pr/1/model_index.json", "org/name", "refs/pr/1"],
    ["https://huggingface.co/org/name/raw/main/model_index.json", "org/name", "main"],
    [`https://huggingface.co/org/name/commit/${COMMIT}`, "org/name", COMMIT],
    ["https://huggingface.co/org/name/commits/main", "org/name", "main"],
    ["https://huggingface.co/org/name/discussions/3", "org/name", null],
    ["https://huggingface.co/api/models/org/name", "org/name", null],
    ["https://huggingface.co/api/models/org/name/revision/v2", "org/name", "v2"],
    ["hf://org/name", "org/name", null],
    ["hf://org/name@v1", "org/name", "v1"],
    ["hf://models/org/name@refs%2Fpr%2F1/vae/config.json", "org/name", "refs/pr/1"],
    ["hf://org/name/model_index.json", "org/name", "main"],
    [`${E}/org/name/tree/main`, "org/name", "main"],
  ])("%s", (address, name, revision) => expect(parseHubAddress(address, E)).toEqual({ name, revision }));

  test.each([
    "https://example.org/org/name",
    "org/name",
    "./huggingface.co",
    "/srv/hf.co/org/name",
    "https://huggingface.co/org/name/resolve/main/variants/small/",
    "https://mirror.example/other/org/name",
    "file:///x",
    `${E}/models/CogVideoX/`,
    `${E}/CogVideoX/`,
    `${E}/docs/org/name/`,
  ])("%s is none", (address) => expect(parseHubAddress(address, E)).toBeNull());

  test.each([
    ["https://huggingface.co/org/name", "org/name", null, ""],
    ["https://huggingface.co/org/name/resolve/main/?download=true", "org/name", "main", ""],
    ["https://huggingface.co/org/name/blob/v1/loras/", "org/name", "v1", "loras"],
    ["https://huggingface.co/org/name/resolve/main/transformer/v1.0/", "org/name", "main", "transformer/v1.0"],
    ["https://huggingface.co/org/name/tree/main/v1.0", "org/name", "main", "v1.0"],
    ["https://huggingface.co/org/name/blob/main/loras/adapter_config.json", "org/name", "main", "loras"],
    ["hf://org/name@refs/pr/1/loras/", "org/name", "refs/pr/1", "loras"],
    ["hf.co/org/name/blob/main/loras%20of%20mine/", "org/name", "main", "loras of mine"],
  ])("%s is a folder of a repository", (address, name, revision, folder) =>
    expect(parseHubFolder(address, E)).toEqual({ name, revision, folder }),
  );

  test.each([
    [
      "https://huggingface.co/datasets/org/name",
      "a checkpoint must be a repository of models, got a page of datasets; pass a model's page, or its id such as org/name",
    ],
    ["hf://spaces/org/name", "a checkpoint must be a repository of models, got a page of spaces;"],
    ["https://huggingface.co/org", "a model's page must be at org/name, got \"org\"; pass a model's page"],
    ["https://huggingface.co/", 'a model\'s page must be at org/name, got "";'],
    ["https://huggingface.co/models?search=video", "a model's page must be at org/name,"],
    [
      "https://huggingface.co/org/name/tree/main/variants/small",
      "a checkpoint must lie at the top of its repository, got the folder variants/small; " +
        "if it holds a model_index.json, pass its address with /resolve/ in the place of /tree/",
    ],
  ])("%s is refused in words", (address, rule) => expect(() => parseHubAddress(address)).toThrow(`[hub] ${address}: ${rule}`));

  test("opens as its id does, and a file of another kind, where it lies", async () => {
    await using server = await HubServer.start();
    server.repos[ID] = { revisions: { main: { commit: COMMIT, files: { ...NEEDED, "adapter.safetensors": NEEDED[VAE]! } } } };
    const hub = { endpoint: server.url, token: null, cache: join(home, "pages") };
    for (const address of [`${server.url}/${ID}`, `${server.url}/${ID}/tree/main/`, `${server.url}/${ID}/blob/main/model_index.json`]) {
      await using source = await openSource(address, { hub });
      expect(source.label).toBe(join(home, "pages", "models--some-org--Some-Model_2b", "snapshots", COMMIT));
    }
    await using source = await openSource(`${server.url}/${ID}/blob/main/`, { hub, anyFile: true });
    expect(await source.size("adapter.safetensors")).toBe(NEEDED[VAE]!.length);
    await using plain = await openSource(`${server.url}/models/CogVideoX/`, { hub });
    expect(plain.label).toBe(`${server.url}/models/CogVideoX/`);
  });
});

describe("a hub that is read by ranges says what the hub's download says", () => {
  async function both(prepare: (server: HubServer) => void, id = ID): Promise<string[]> {
    await using server = await HubServer.start();
    server.repos[ID] = { revisions: { main: { commit: COMMIT, files: NEEDED } } };
    prepare(server);
    return await Promise.all(
      [true, false].map(async (download) => {
        const error = await openSource(id, { hub: { endpoint: server.url, token: null, download, cache: join(home, String(folders++)) } })
          .then((source) => openCheckpoint(source))
          .then(
            () => new Error("opened"),
            (error: Error) => error,
          );
        return error.message.replaceAll(server.url, "HUB");
      }),
    );
  }

  test.each<[string, (server: HubServer) => void, string, string?]>([
    [
      "gated",
      (server) => void Object.assign(server.repos[ID]!, { token: "t", gated: true }),
      `[hub] ${ID}: a gated repository must be opened to you, got 401 (Access to model ${ID} is restricted.); ` +
        `accept its licence at HUB/${ID} and set HF_TOKEN to a token that may read it`,
    ],
    [
      "private, or none",
      () => undefined,
      "[hub] some-org/none: must be a folder here or a repository that you may read at HUB, " +
        "got 401 (Invalid username or password.): there is none of that name, or it is private or gated; " +
        "check the name, or accept its licence at HUB/some-org/none and set HF_TOKEN to a token that may read it",
      "some-org/none",
    ],
    [
      "a page to sign in",
      (server) => void attack(server.hub, () => ATTACKS["sends a page"]),
      `[hub] ${ID}: the hub at HUB must answer with its data, got a web page in its place; a network's or a server's page to sign ` +
        "in answers for it, or the address is a page's: open it in a browser, sign in or correct it, or HF_ENDPOINT",
    ],
    [
      "a page said to be data",
      (server) => void attack(server.hub, () => ATTACKS["sends a page as data"]),
      `[hub] ${ID}: the hub at HUB must answer with its data, got a web page in its place; a network's or a server's page to sign ` +
        "in answers for it, or the address is a page's: open it in a browser, sign in or correct it, or HF_ENDPOINT",
    ],
    [
      "a commit that is a path",
      (server) => void attack(server.hub, () => ATTACKS["tells a commit that is a path"]),
      `[hub] ${ID}: the hub at HUB must tell the revision's commit, got "../../../../etc"; check HF_ENDPOINT`,
    ],
  ])("%s", async (_, prepare, message, id) => expect(await both(prepare, id)).toEqual([message, message]));

  test("a page, and a pointer of git-lfs, in a file's place", async () => {
    const pointer = new TextEncoder().encode(`version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 5\n`);
    const page = new TextEncoder().encode("<!doctype html><html></html>");
    await using server = await HubServer.start();
    server.repos[ID] = { revisions: { main: { commit: COMMIT, files: NEEDED } } };
    const open = (): Promise<unknown> => openSource(ID, { hub: { endpoint: server.url, token: null, cache: join(home, "instead") } });
    server.instead.set(VAE, pointer);
    await expect(open()).rejects.toThrow(
      `[hub] ${ID}/${VAE}: the server must send the file, got a git-lfs pointer; ` +
        "whoever runs the mirror has to fetch its large files (git lfs pull), take another endpoint",
    );
    server.instead.set(VAE, page);
    await expect(open()).rejects.toThrow(`[hub] ${ID}/${VAE}: the server must send the file, got a web page in its place;`);
  });
});
