/** Replicate's client, as it is, against the server's second door. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import Replicate, { parseProgressFromLogs, validateWebhook, type Prediction } from "replicate";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Keys } from "../../src/server/keys.ts";
import { waitMs } from "../../src/server/predictions.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { film } from "../support/film.ts";
import { complete, jobServer, type JobServer } from "../support/job-server.ts";

const MODEL = "cogwheel/moving-shapes";
const small = { num_frames: 9, num_inference_steps: 3, guidance_scale: 1 };
let server: JobServer;
let client: Replicate;
let other: Replicate;
let movie: Uint8Array<ArrayBuffer>;

beforeAll(async () => {
  server = await jobServer({ first: {}, second: { jobs: 1 } }, { privateWebhooks: true });
  const clientOf = (auth: string): Replicate => new Replicate({ auth, baseUrl: `${server.url}/v1` });
  client = clientOf(server.keys["first"]!);
  other = clientOf(server.keys["second"]!);
  movie = await encodeVideo(film(), { format: "mp4", fps: 8 });
});
afterAll(() => server[Symbol.asyncDispose]());

const begin = (id: string): Promise<unknown> =>
  server.store.update(id, (job) => ({ ...job, status: "in_progress", startedAt: Date.now(), attempts: 1, step: 0, steps: 4 }));
const step = (id: string): Promise<unknown> => server.store.update(id, (job) => ({ ...job, step: job.step + 1 }));
const made = (input: object = {}): Promise<Prediction> =>
  client.predictions.create({ version: "moving-shapes", input: { prompt: "x", ...small, ...input } });
/** What was refused: its status and body. */
async function refusal(asked: Promise<unknown>): Promise<{ status: number; title?: string; detail?: string; invalid_fields?: object[] }> {
  const error = (await asked.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )) as Error & { response: Response };
  const [, text = "{}"] = /: (\{.*\})\.$/s.exec(error.message) ?? [];
  return { ...(JSON.parse(text) as object), status: error.response.status };
}

describe("replicate", () => {
  it("makes a prediction of a model, follows it, and fetches what came out without its key", async () => {
    const started = await client.predictions.create({ model: MODEL, input: { prompt: "a red circle", seed: 7, ...small } });
    expect(started).toMatchObject({ status: "starting", model: MODEL, output: null, error: null, logs: "", source: "api" });
    expect(started.input).toEqual({ prompt: "a red circle", seed: 7, width: 64, height: 64, fps: 8, ...small });
    expect((await server.store.get(started.id))!.request).toMatchObject({ kind: "text", steps: 3, frames: 9, guidance: 1 });
    await begin(started.id);
    await step(started.id);
    await expect.poll(async () => (await client.predictions.get(started.id)).status).toBe("processing");
    await expect
      .poll(async () => parseProgressFromLogs(await client.predictions.get(started.id)))
      .toEqual({ percentage: 0.25, current: 1, total: 4 });
    await complete(server, started.id, movie);
    const ended = await client.wait(started, { interval: 50 });
    expect(ended.status).toBe("succeeded");
    expect(ended.metrics!.predict_time).toBeGreaterThanOrEqual(0);
    expect(ended.metrics!.total_time).toBeGreaterThanOrEqual(ended.metrics!.predict_time!);
    const answer = await fetch(ended.output as string);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "video/mp4"]);
    expect(new Uint8Array(await answer.arrayBuffer())).toEqual(movie);
    expect((await fetch(ended.output as string, { headers: { range: "bytes=0-9" } })).status).toBe(206);
    // A token is of one video, and is needed where there are keys.
    const another = await made();
    for (const address of [
      (ended.output as string).replace(/\?.*/, ""),
      (ended.output as string).replace(started.id, another.id),
      (ended.output as string).replace(/.$/, (digit) => (digit === "0" ? "1" : "0")),
    ])
      expect((await fetch(address)).status, address).toBe(404);
    // The same job by the first door.
    const video = await fetch(`${server.url}/v1/videos/${started.id}`, { headers: { authorization: `Bearer ${server.keys["first"]}` } });
    expect(await video.json()).toMatchObject({ id: started.id, status: "completed" });
  });

  it("runs: waits in one request, and asks again where that was too short", async () => {
    const work = async (prompt: string, ms: number): Promise<void> => {
      const found = async () => (await server.store.list({ limit: 1000 })).jobs.find(({ request }) => request.prompt === prompt)?.id;
      await expect.poll(found).toBeDefined();
      const id = (await found())!;
      await begin(id);
      await new Promise((resolve) => setTimeout(resolve, ms));
      await complete(server, id, movie);
    };
    for (const [prompt, ms] of [
      ["at once", 100],
      ["later", 1500],
    ] as const) {
      const seen: string[] = [];
      const [output] = await Promise.all([
        client.run(MODEL, { input: { prompt, ...small }, wait: { mode: "block", timeout: 1 } }, ({ status }) => seen.push(status)),
        work(prompt, ms),
      ]);
      expect(String(output), prompt).toMatch(/\/v1\/predictions\/video_\w+\/output\?token=/);
      expect(seen[0], prompt).toBe(ms < 1000 ? "succeeded" : "starting");
    }
  });

  it("streams what comes, and what went wrong", async () => {
    const seen: [string, string][] = [];
    let worked: Promise<void> | undefined;
    const work = async (id: string): Promise<void> => {
      for (const act of [begin, step, () => complete(server, id, movie)]) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        await act(id);
      }
    };
    const { fetch: own } = client;
    client.fetch = async (url, init) => {
      const [, id] = /(video_\w+)\/stream/.exec(String(url)) ?? [];
      if (id) worked = work(id);
      return await own(url, init);
    };
    for await (const { event, data } of client.stream(MODEL, { input: { prompt: "stream", ...small } })) seen.push([event, data]);
    client.fetch = own;
    await worked;
    expect(seen.map(([event]) => event)).toEqual(["logs", "logs", "output", "done"]);
    expect(seen[2]![1]).toMatch(/^http.*\/output\?token=/);
  }, 20_000);

  it("lists by pages, cancels, and knows nothing of another key's", async () => {
    for (let i = 0; i < 101; i++) await made();
    const pages = [];
    for await (const page of client.paginate(client.predictions.list)) pages.push(page);
    expect(pages[0]!.length).toBe(100);
    const ids = pages.flat().map(({ id }) => id);
    expect(ids).toEqual((await server.store.list({ limit: 1000 })).jobs.map(({ id }) => id));
    const first = await client.predictions.list();
    expect(first.previous).toBeNull();
    const second = (await (await client.request(new URL(first.next!), {})).json()) as typeof first;
    expect(second.next).toBeNull();
    const back = (await (await client.request(new URL(second.previous!), {})).json()) as typeof first;
    expect(back.results.map(({ id }) => id)).toEqual(ids.slice(0, 100));

    const id = ids[0]!;
    const cancelled = await client.predictions.cancel(id);
    expect(cancelled).toMatchObject({ status: "canceled", output: null });
    expect((await client.predictions.cancel(id)).status).toBe("canceled");
    for (const call of [() => other.predictions.get(id), () => other.predictions.cancel(id), () => client.predictions.get("nothing")])
      expect(await refusal(call())).toMatchObject({
        status: 404,
        title: "Not found",
        detail: expect.stringMatching(/must be that of one/),
      });
    expect((await other.predictions.list()).results).toEqual([]);
    const nobody = new Replicate({ auth: "cw_no", baseUrl: `${server.url}/v1` });
    expect(await refusal(nobody.predictions.list())).toMatchObject({ status: 401, title: "Unauthenticated" });
  }, 60_000);

  it("makes a video anew: one that it sends, and one that was made here", async () => {
    const sent = await made({ video: new Blob([movie], { type: "video/mp4" }), strength: 0.5 });
    const { request } = (await server.store.get(sent.id))!;
    expect(request).toMatchObject({ kind: "video", strength: 0.5, frames: 9 });
    expect(await server.backend.blobs.get(request.input!)).toEqual(movie);
    await complete(server, sent.id, movie);
    const { output } = await client.wait(sent, { interval: 50 });
    const again = (await server.store.get((await made({ video: output as string, num_frames: undefined })).id))!;
    expect(again).toMatchObject({ request: { kind: "video", frames: 9 }, remixedFrom: sent.id });
  });

  it.each([
    [{ width: 65 }, "width", /multiples of 16, got width 65/],
    [{ num_frames: 10 }, "num_frames", /got 10; the nearest are/],
    [{ promt: "x" }, "promt", /did you mean prompt\?/],
    [{ prompt: undefined }, "prompt", /must be a text that says what to show/],
    [{ image: "https://example.org/a.png" }, "image", /must be a data: address/],
    [{ image: "data:image/png;base64,AAAA" }, undefined, /./],
  ])("refuses the input %j as Replicate does", async (input, field, rule) => {
    const refused = await refusal(made(input));
    expect(refused).toMatchObject({ status: 422, title: "Input validation failed", detail: expect.stringMatching(rule) });
    if (field) expect(refused.invalid_fields).toEqual([expect.objectContaining({ field })]);
  });

  it("refuses other models, other events, and more than a key may have", async () => {
    for (const asked of [
      () => client.predictions.create({ model: "someone/else", input: { prompt: "x" } }),
      () => client.predictions.create({ version: "moving-shapes:else", input: { prompt: "x" } }),
    ])
      expect(await refusal(asked())).toMatchObject({ status: 404, detail: expect.stringMatching(/must name moving-shapes/) });
    const events = ["ended" as "completed"];
    expect(
      await refusal(client.predictions.create({ version: MODEL, input: { prompt: "x" }, webhook_events_filter: events })),
    ).toMatchObject({ status: 422, detail: expect.stringMatching(/start, output, logs, completed/) });
    const url = `${server.url}/v1/predictions`;
    const headers = { authorization: `Bearer ${server.keys["second"]}`, "content-type": "application/json" };
    const ask = (): Promise<Response> => fetch(url, { method: "POST", headers, body: JSON.stringify({ input: { prompt: "x" } }) });
    expect((await ask()).status).toBe(201);
    const full = await ask();
    expect([full.status, Number(full.headers.get("retry-after"))]).toEqual([429, 10]);
    expect(await full.json()).toMatchObject({ title: "Too many requests", status: 429 });
  });

  it("is described", async () => {
    const described = (await (await fetch(`${server.url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, { responses: object }>>;
    };
    expect(Object.keys(described.paths)).toEqual(
      expect.arrayContaining(["/v1/predictions", "/v1/predictions/{id}/cancel", "/v1/models/{owner}/{name}/predictions"]),
    );
    expect(Object.keys(described.paths["/v1/predictions"]!["post"]!.responses)).toContain("201");
  });
});

describe("webhooks", () => {
  const heard: { prediction: Prediction; signed: boolean }[] = [];
  let receiver: Server;
  let webhook: string;
  beforeAll(async () => {
    const { webhookSecret: secret } = (await new Keys(server.backend.values).find(server.keys["first"]!))!;
    receiver = createServer((request, response) => {
      let body = "";
      request.on("data", (piece: Buffer) => (body += piece.toString()));
      request.on("end", async () => {
        const headers = request.headers as Record<string, string>;
        const signed = await validateWebhook(
          { id: headers["webhook-id"]!, timestamp: headers["webhook-timestamp"]!, signature: headers["webhook-signature"]!, body, secret },
          globalThis.crypto,
        );
        heard.push({ prediction: JSON.parse(body) as Prediction, signed });
        response.end();
      });
    });
    await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
    webhook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
  });
  afterAll(() => receiver.close());

  it.each([
    [undefined, ["succeeded null 4"]],
    [
      ["start", "logs", "completed"],
      ["processing null 0", "processing null 1", "succeeded null 4"],
    ],
    [["start"], ["processing null 0"]],
    [["output"], ["succeeded null 4"]],
  ] as const)("tell of %j, signed as Replicate's client checks", async (filter, expected) => {
    heard.length = 0;
    const events = filter ? { webhook_events_filter: [...filter] } : {};
    const { id, ...asked } = await client.predictions.create({ version: MODEL, input: { prompt: "x", ...small }, webhook, ...events });
    expect(asked.webhook_events_filter).toEqual(filter ?? ["output", "completed"]);
    const told = (): string[] =>
      heard.map(({ prediction: { status, error, logs } }) => `${status} ${String(error)} ${parseProgressFromLogs(logs ?? "")?.current}`);
    await begin(id);
    await new Promise((resolve) => setTimeout(resolve, 700)); // at most two a second are told
    await step(id);
    await new Promise((resolve) => setTimeout(resolve, 700));
    await server.store.update(id, (job) => ({ ...job, step: 4 }));
    await complete(server, id, movie);
    await expect.poll(told, { timeout: 5000 }).toContain(expected.at(-1));
    await new Promise((resolve) => setTimeout(resolve, 200));
    const all = told();
    // The last step is told, or left out where the end came within half a second.
    expect(all.filter((one) => one !== "processing null 4")).toEqual(expected);
    expect(heard.every(({ signed, prediction }) => signed && prediction.id === id)).toBe(true);
    const last = heard.at(-1)!.prediction;
    if (last.status === "succeeded") expect((await fetch(last.output as string)).status).toBe(200);
  });
});

it.each([
  [null, undefined],
  ["wait", 60_000],
  ["wait=5", 5000],
  ["respond-async, wait=3", 3000],
  ["wait=0", 1000],
  ["wait=900", 60_000],
  ["waiting", undefined],
  ["wait=x", undefined],
])("Prefer: %s waits %s ms", (header, ms) => {
  expect(waitMs(header)).toBe(ms);
});
