/** What a client may do to the server by bare HTTP, and what it is answered. */
import { randomBytes } from "node:crypto";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { outputBlob } from "../../src/jobs/job.ts";
import { isPrivate } from "../../src/server/send-webhook-node.ts";
import { complete, jobServer, type JobServer } from "../support/job-server.ts";

let open: JobServer;
beforeAll(async () => {
  open = await jobServer({}, { maxUpload: 1_000_000 });
});
afterAll(() => open[Symbol.asyncDispose]());

interface Refusal {
  readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string };
}

async function post(fields: object, headers: Record<string, string> = {}, at: JobServer = open, path = ""): Promise<Response> {
  return await fetch(`${at.url}/v1/videos${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(fields),
  });
}
const made = async (fields: object = {}, headers?: Record<string, string>, at?: JobServer): Promise<string> =>
  ((await (await post({ prompt: "x", ...fields }, headers, at)).json()) as { id: string }).id;
const refusal = async (response: Response): Promise<Refusal["error"]> => ((await response.json()) as Refusal).error;

/** By Node's own client, which sends any header. */
const raw = (
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<IncomingMessage & { text: string }> =>
  new Promise((resolve, reject) => {
    const sent = httpRequest(
      open.url + path,
      { method: options.method ?? "GET", headers: options.headers ?? {}, agent: false },
      (response) => {
        let text = "";
        response.on("data", (piece: Buffer) => (text += piece.toString()));
        response.on("end", () => resolve(Object.assign(response, { text })));
      },
    );
    sent.on("error", reject);
    sent.end(options.body);
  });

describe("content", () => {
  const video = new Uint8Array(randomBytes(3_000_000));
  let url: string;
  beforeAll(async () => {
    const id = await made();
    url = `${open.url}/v1/videos/${id}/content`;
    const early = await fetch(url);
    expect(early.status).toBe(409);
    expect(Number(early.headers.get("retry-after"))).toBeGreaterThan(0);
    await complete(open, id, video);
  });
  const get = async (headers: Record<string, string>, method = "GET"): Promise<readonly [number, Uint8Array, Headers]> => {
    const response = await fetch(url, { headers, method });
    return [response.status, new Uint8Array(await response.arrayBuffer()), response.headers];
  };

  it.each([
    ["bytes=0-99", 0, 100],
    ["bytes=2999990-", 2_999_990, 3_000_000],
    ["bytes=-10", 2_999_990, 3_000_000],
    ["bytes=1000000-2500000", 1_000_000, 2_500_001],
    ["bytes=2999999-99999999", 2_999_999, 3_000_000],
  ])("gives %s", async (range, begin, end) => {
    const [status, bytes, headers] = await get({ range });
    expect(status).toBe(206);
    expect(headers.get("content-range")).toBe(`bytes ${begin}-${end - 1}/3000000`);
    expect(Buffer.compare(bytes, video.subarray(begin, end))).toBe(0);
  });

  it.each(["bytes=5-2", "bytes=a-b", "lines=0-1", "bytes=0-1,5-6"])("gives all for %s", async (range) => {
    const [status, bytes] = await get({ range });
    expect([status, bytes.length]).toEqual([200, 3_000_000]);
  });

  it("refuses a range that begins behind the end, knows what the client has, and answers HEAD", async () => {
    const [status, , headers] = await get({ range: "bytes=3000000-" });
    expect([status, headers.get("content-range")]).toEqual([416, "bytes */3000000"]);
    const [, , { etag }] = await get({}, "HEAD").then(([s, b, h]) => [s, b, { etag: h.get("etag")! }] as const);
    expect((await get({ "if-none-match": `"other", W/${etag}` }))[0]).toBe(304);
    expect((await get({ range: "bytes=0-0", "if-range": etag }))[0]).toBe(206);
    expect((await get({ range: "bytes=0-0", "if-range": '"other"' }))[0]).toBe(200);
    const head = await fetch(url, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), head.headers.get("x-content-type-options")]).toEqual([
      200,
      "3000000",
      "nosniff",
    ]);
  });

  it("says 410 of a video that was removed, and 409 of one that failed", async () => {
    const id = await made();
    await complete(open, id, video.subarray(0, 100));
    await open.backend.blobs.delete(outputBlob(id, "video"));
    expect((await fetch(`${open.url}/v1/videos/${id}/content`)).status).toBe(410);
    await fetch(`${open.url}/v1/videos/${id}`, { method: "DELETE" });
    expect((await fetch(`${open.url}/v1/videos/${id}/content`)).status).toBe(410);
    const cancelled = await made();
    const answer = await fetch(`${open.url}/v1/videos/${cancelled}/cancel`, { method: "POST" });
    expect(await answer.json()).toMatchObject({ status: "failed", error: { code: "cancelled" } });
    expect((await fetch(`${open.url}/v1/videos/${cancelled}/content`)).status).toBe(409);
  });
});

/** The events of a stream, as `[name, id, data]`, until it ends or there are so many. */
async function events(
  id: string,
  most: number,
  headers: Record<string, string> = {},
  then: () => Promise<unknown> = async () => undefined,
) {
  const ended = new AbortController();
  const response = await fetch(`${open.url}/v1/videos/${id}/events`, { headers, signal: ended.signal });
  const found: [string, string | undefined, Record<string, unknown>][] = [];
  if (response.status !== 200) return { status: response.status, found };
  let text = "";
  let asked: Promise<unknown> | undefined;
  for await (const piece of response.body!) {
    text += new TextDecoder().decode(piece);
    const parts = text.split("\n\n");
    text = parts.pop()!;
    for (const part of parts) {
      const [, name] = /^event: (.*)$/m.exec(part) ?? [];
      if (name) found.push([name, /^id: (.*)$/m.exec(part)?.[1], JSON.parse(/^data: (.*)$/m.exec(part)![1]!) as Record<string, unknown>]);
    }
    if (found.length > 0) asked ??= then();
    if (found.length >= most) break;
  }
  await asked;
  ended.abort();
  return { status: 200, found };
}

describe("events", () => {
  it("tell progress, seconds left and previews, and end with the job; who comes back is told what it missed", async () => {
    const id = await made();
    const { found } = await events(id, 100, {}, async () => {
      await open.store.update(id, (job) => ({ ...job, status: "in_progress", step: 1, steps: 4, progress: 25, secondsLeft: 3 }));
      await open.backend.blobs.put(outputBlob(id, "preview"), Uint8Array.of(0x89, 1, 2));
      await pause(600);
      await complete(open, id, new Uint8Array(10));
    });
    expect(found.map(([name]) => name)).toEqual(["progress", "progress", "preview", "completed"]);
    expect(found[1]![2]).toMatchObject({ status: "in_progress", progress: 25, step: 1, steps: 4, seconds_left: 3 });
    expect(found[2]![2]).toEqual({ type: "image/png", data: Buffer.from([0x89, 1, 2]).toString("base64") });
    const [, last] = found.at(-1)!;
    expect(await events(id, 100, { "last-event-id": found[1]![1]! })).toMatchObject({ found: [["completed", last, { id }]] });
    expect((await events(id, 100, { "last-event-id": last! })).status).toBe(204);
  });

  it("end where the job is deleted", async () => {
    const id = await made();
    const { found } = await events(id, 100, {}, () => fetch(`${open.url}/v1/videos/${id}`, { method: "DELETE" }));
    expect(found.map(([name]) => name)).toEqual(["progress", "deleted"]);
  });
});

describe("Idempotency-Key", () => {
  it("makes one job of many requests, also at once; another body is refused", async () => {
    const headers = { "idempotency-key": "a-1" };
    const answers = await Promise.all(Array.from({ length: 8 }, () => post({ prompt: "once", seed: 5 }, headers)));
    const ids = await Promise.all(
      answers.filter(({ status }) => status === 200).map(async (one) => ((await one.json()) as { id: string }).id),
    );
    expect(new Set(ids).size).toBe(1);
    for (const { status } of answers) expect([200, 409]).toContain(status);
    // The order of fields is nothing; a form with the same fields is the same too.
    const form = new FormData();
    form.set("seed", "5");
    form.set("prompt", "once");
    expect(await made({ seed: 5, prompt: "once" }, headers)).toBe(ids[0]);
    expect((await post({ prompt: "twice" }, headers)).status).toBe(422);
    expect((await fetch(`${open.url}/v1/videos`, { method: "POST", body: form, headers })).status).toBe(422); // a text is not a number
    const jobs = (await open.store.list({ limit: 1000 })).jobs.filter(({ request }) => request.prompt === "once");
    expect(jobs.length).toBe(1);
  });

  it("stays free where the request was refused", async () => {
    const headers = { "idempotency-key": "a-2" };
    expect((await post({ prompt: "x", width: 1 }, headers)).status).toBe(400);
    expect((await post({ prompt: "x" }, headers)).status).toBe(200);
  });
});

describe("limits of a key", () => {
  it("jobs, pixels and requests: 429 with Retry-After", async () => {
    await using server = await jobServer({ jobs: { jobs: 2 }, pixels: { pixels: 64 * 64 * 20 }, requests: { requests: 1 } });
    const bearer = (name: string) => ({ authorization: `Bearer ${server.keys[name]}` });
    const answers = await Promise.all(Array.from({ length: 5 }, () => post({ prompt: "x" }, bearer("jobs"), server)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 429, 429, 429]);
    const full = answers.find(({ status }) => status === 429)!;
    expect([full.headers.get("retry-after"), (await refusal(full)).code]).toEqual(["10", "queue_full"]);

    expect((await post({ prompt: "x", num_frames: 17 }, bearer("pixels"), server)).status).toBe(200);
    expect((await post({ prompt: "x", num_frames: 8 }, bearer("pixels"), server)).status).toBe(429);
    expect((await post({ prompt: "x", num_frames: 33 }, bearer("pixels"), server)).status).toBe(400);

    const id = await made({}, bearer("requests"), server);
    const stream = await fetch(`${server.url}/v1/videos/${id}/events`, { headers: bearer("requests") });
    expect((await fetch(`${server.url}/v1/videos`, { headers: bearer("requests") })).status).toBe(429);
    await stream.body!.cancel();
    await expect.poll(async () => (await fetch(`${server.url}/v1/videos`, { headers: bearer("requests") })).status).toBe(200);
  });
});

describe("bodies", () => {
  it("are cut off at the limit, whatever the head says", async () => {
    const large = await fetch(`${open.url}/v1/videos`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: new Uint8Array(2_000_000),
    });
    expect([large.status, (await refusal(large)).code]).toEqual([413, "request_too_large"]);
    // A gigabyte without a length: the connection ends long before.
    let sent = 0;
    const answer = await new Promise<string>((resolve, reject) => {
      const { hostname, port } = new URL(open.url);
      const socket = connect(Number(port), hostname);
      let text = "";
      let over = false;
      socket.on("data", (piece) => (text += piece.toString()));
      socket.on("close", () => ((over = true), resolve(text)));
      socket.on("error", (error: NodeJS.ErrnoException) =>
        error.code === "ECONNRESET" || error.code === "EPIPE" ? undefined : reject(error),
      );
      socket.write(`POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`);
      const piece = `10000\r\n${"x".repeat(0x10000)}\r\n`;
      const more = (): void => {
        if (over || sent >= 1e9) return void socket.end();
        sent += 0x10000;
        if (socket.write(piece)) setImmediate(more);
        else socket.once("drain", more);
      };
      more();
    });
    expect(answer).toMatch(/^HTTP\/1.1 413 /);
    expect(sent).toBeLessThan(100e6);
  });

  it.each([
    ["application/json", "{", 400],
    ["application/json", "[]", 400],
    ["application/json", '{"prompt":{}}', 400],
    ["multipart/form-data", "x", 400],
    ["multipart/form-data; boundary=a", "--b\r\n", 400],
    ["text/xml", "<x/>", 415],
  ])("of %s %j are refused", async (type, body, status) => {
    const response = await fetch(`${open.url}/v1/videos`, { method: "POST", headers: { "content-type": type }, body });
    expect(response.status).toBe(status);
    expect((await refusal(response)).message).toMatch(/must/);
  });

  it("that come slowly, and heads that do, are given up", async () => {
    await using server = await jobServer({}, { requestMs: 300 });
    const { hostname, port } = new URL(server.url);
    for (const head of [
      "POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{",
      "GET / HT",
    ]) {
      const ended = await new Promise<boolean>((resolve) => {
        const socket = connect(Number(port), hostname, () => socket.write(head));
        socket.on("error", () => undefined);
        socket.on("close", () => resolve(true));
        socket.resume();
        setTimeout(() => resolve(false), 5000).unref();
      });
      expect(ended, head).toBe(true);
    }
    expect((await fetch(`${server.url}/livez`)).status).toBe(200);
  });
});

describe("strangers", () => {
  it.each([
    [{ host: "evil.example" }, 403],
    [{ origin: "http://evil.example" }, 403],
    [{ origin: "null" }, 403],
    [{ "sec-fetch-site": "cross-site" }, 403],
    [{}, 200],
  ])("with %j are answered %i", async (headers, status) => {
    expect((await raw("/v1/videos", { headers: headers as Record<string, string> })).statusCode).toBe(status);
  });

  it.each([
    "/v1/videos/../../etc/passwd",
    "/v1/videos/%2e%2e%2f%2e%2e%2fetc%2fpasswd/content",
    "/v1/videos/video_%00/content",
    "/v1/videos/job.video_00000000000000000000000000000000",
    "//v1/videos",
    "/v1/videos/%",
    `/v1/videos/${"a".repeat(4000)}`,
  ])("find nothing at %s", async (path) => {
    const answer = await raw(path);
    expect([400, 404]).toContain(answer.statusCode);
    expect(answer.text).not.toMatch(/root:/);
  });

  it("get nothing of a method that a path has not, nor of heads that are too long", async () => {
    const wrong = await raw("/v1/videos", { method: "PUT" });
    expect([wrong.statusCode, wrong.headers.allow]).toEqual([405, "POST, GET, HEAD"]);
    expect((await raw("/v1/videos", { headers: { "x-long": "a".repeat(20_000) } })).statusCode).toBe(431);
    expect((await raw("/livez")).text).toBe("ok\n");
    expect(open.warnings).toEqual([]);
  });

  it("need a key where there are keys, for all but what says nothing; a server for others needs keys to begin", async () => {
    await using server = await jobServer({ one: {} });
    for (const path of ["/v1/videos", "/v1/models", "/metrics"]) expect((await fetch(server.url + path)).status, path).toBe(401);
    for (const path of ["/health", "/livez", "/readyz", "/openapi.json"]) expect((await fetch(server.url + path)).status, path).toBe(200);
    await expect(jobServer({}, { host: "0.0.0.0" })).rejects.toThrow(/must ask for keys, got host 0.0.0.0/);
  });
});

it("the page for people links to where a tab becomes a worker, where that is told", async () => {
  const script = new TextEncoder().encode("");
  await using server = await jobServer({}, { script, tabs: 'https://example.org/join.html?a="b"&c' });
  const page = await (await fetch(server.url)).text();
  expect(page).toContain('<a href="https://example.org/join.html?a=&quot;b&quot;&amp;c"');
  await using without = await jobServer({}, { script });
  expect(await (await fetch(without.url)).text()).not.toContain("<a ");
});

describe("operators", () => {
  it("read metrics, readiness and a description that is made of the checks", async () => {
    let trouble: string | undefined;
    await using server = await jobServer({}, { trouble: () => trouble });
    const id = await made({}, {}, server);
    await server.store.update(id, (job) => ({ ...job, status: "in_progress", startedAt: Date.now(), steps: 4, attempts: 1 }));
    await server.store.update(id, (job) => ({ ...job, attempts: 2 }));
    await expect.poll(async () => await (await fetch(`${server.url}/metrics`)).text()).toMatch(/^cogwheel:num_requests_running 1$/m);
    await complete(server, id, new Uint8Array(10));
    await expect
      .poll(async () => await (await fetch(`${server.url}/metrics`)).text())
      .toMatch(/^cogwheel:jobs_ended_total\{outcome="completed"\} 1$/m);
    const text = await (await fetch(`${server.url}/metrics`)).text();
    expect(text).toMatch(/^cogwheel:http_request_duration_seconds_count\{method="POST",route="\/v1\/videos",status="200"\} 1$/m);
    for (const line of text.split("\n").filter(Boolean)) expect(line).toMatch(/^# (HELP|TYPE) [\w:]+ .+$|^[\w:]+(\{[^{}]*\})? [-+\d.e]+$/);

    expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
    trouble = "the worker is being started again";
    const waiting = await fetch(`${server.url}/readyz`);
    expect([waiting.status, waiting.headers.get("retry-after")]).toEqual([503, "2"]);

    const described = (await (await fetch(`${server.url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, { requestBody?: { content: object } }>>;
      components: { schemas: Record<string, { properties?: object; required?: string[] }> };
    };
    expect(Object.keys(described.paths)).toContain("/v1/videos/{id}/content");
    expect(Object.keys(described.paths["/v1/videos"]!["post"]!.requestBody!.content)).toEqual(["application/json", "multipart/form-data"]);
    const { CreateVideo } = described.components.schemas;
    expect(CreateVideo!.required).toEqual(["prompt"]);
    expect(Object.keys(CreateVideo!.properties!)).toEqual(
      expect.arrayContaining(["size", "num_inference_steps", "guidance_scale", "input_reference"]),
    );
    const references = [...JSON.stringify(described).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name!);
    for (const name of references) expect(Object.keys(described.components.schemas)).toContain(name);
  });
});

it.each([
  ["127.0.0.1", true],
  ["10.1.2.3", true],
  ["169.254.169.254", true],
  ["192.168.1.1", true],
  ["::1", true],
  ["fe80::1", true],
  ["fd00::1", true],
  ["::ffff:10.0.0.1", true],
  ["2002:a00:1::", true],
  ["64:ff9b::a00:1", true],
  ["8.8.8.8", false],
  ["172.32.0.1", false],
  ["2606:4700::1111", false],
])("a webhook may not go to private addresses: %s", (address, is) => {
  expect(isPrivate(address)).toBe(is);
});
