/** Spans of OpenTelemetry, as a server and a worker give them to whatever SDK was loaded before them: processes as users start them. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { serveProcess } from "../support/serve-process.ts";

interface Span {
  readonly name: string;
  readonly kind: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly start: number;
  readonly end: number;
  readonly trace: string;
  readonly id: string;
  readonly parent: string | null;
  readonly active: string | null;
  readonly status?: number;
  readonly errors: readonly string[];
  /** Of the process that it is of. */
  readonly process: string;
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-spans-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function spans(): Promise<Span[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith(".jsonl"));
  const texts = await Promise.all(files.map(async (name) => [name, await readFile(join(folder, name), "utf8")] as const));
  return texts.flatMap(([name, text]) =>
    text
      .trim()
      .split("\n")
      .map((line) => ({ ...(JSON.parse(line) as Span), process: name })),
  );
}

test("a request, its wait and the stages of its work are one trace over server and worker, below the client's own span", async () => {
  const preload = pathToFileURL(resolve("test/support/spans-preload.mjs")).href;
  const env = { SPANS: folder, NODE_OPTIONS: `${process.env["NODE_OPTIONS"] ?? ""} --import=${preload}` };
  await using server = await serveProcess(["--queue", join(folder, "jobs")], folder, env);
  const [trace, client] = ["0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"];
  const post = async (fields: object): Promise<{ id: string; status: string }> => {
    const headers = { "content-type": "application/json", traceparent: `00-${trace}-${client}-01` };
    const response = await fetch(`${server.url}/v1/videos`, { method: "POST", headers, body: JSON.stringify(fields) });
    return (await response.json()) as { id: string; status: string };
  };
  const { id } = await post({ prompt: "a red circle", num_frames: 9, num_inference_steps: 3 });
  const job = async (of = id) => (await (await fetch(`${server.url}/v1/videos/${of}`)).json()) as { status: string; step: number };
  await expect.poll(async () => (await job()).status, { timeout: 60_000, interval: 200 }).toBe("completed");
  const cancelled = await post({ prompt: "a red circle", num_inference_steps: 1000 });
  await expect.poll(async () => (await job(cancelled.id)).step, { timeout: 60_000, interval: 50 }).toBeGreaterThan(0);
  await fetch(`${server.url}/v1/videos/${cancelled.id}/cancel`, { method: "POST" });
  await fetch(`${server.url}/metrics`);
  const named = async (name: string, of: string) =>
    (await spans()).find((span) => span.name === name && span.attributes["cogwheel.job.id"] === of)!;
  await expect.poll(() => named("generate video", cancelled.id), { timeout: 30_000 }).toBeDefined();

  const request = await named("POST /v1/videos", id);
  expect(request).toMatchObject({ trace, parent: client, kind: 1, active: null });
  expect(request.attributes).toMatchObject({ "http.route": "/v1/videos", "http.response.status_code": 200 });
  const wait = await named("queue wait", id);
  expect(wait).toMatchObject({ trace, parent: request.id, kind: 4, attributes: { "cogwheel.job.attempt": 1 } });
  expect([wait.start >= request.start, wait.end >= wait.start, wait.process === request.process]).toEqual([true, true, false]);
  const work = await named("generate video", id);
  expect(work).toMatchObject({ trace, parent: request.id, process: wait.process });
  expect(work.attributes).toMatchObject({ "cogwheel.model": "moving-shapes", "cogwheel.frames": 9, "cogwheel.steps": 3 });

  const all = await spans();
  const below = (of: Span): Span[] => all.filter(({ parent }) => parent === of.id).sort((a, b) => a.start - b.start);
  const stages = below(work);
  expect(stages.map(({ name }) => name)).toEqual(
    expect.arrayContaining(["load text encoder", "encode prompt", "load transformer", "denoise", "load decoder", "decode", "encode file"]),
  );
  for (const stage of stages) expect(stage.start >= work.start && stage.end <= work.end, stage.name).toBe(true);
  const steps = below(stages.find(({ name }) => name === "denoise")!);
  expect(steps.map(({ name, attributes }) => [name, attributes["cogwheel.step"]])).toEqual([1, 2, 3].map((n) => ["denoise step", n]));
  expect(stages.find(({ name }) => name === "encode file")!.active, "what is called within finds the span").not.toBeNull();

  const ended = await named("generate video", cancelled.id);
  expect(ended).toMatchObject({ status: 2, errors: [expect.stringMatching(/is cancelled; the work on it stops here/)] });
  expect(below(ended).filter(({ name }) => name === "denoise")).toMatchObject([{ status: 2 }]);
  expect(all.filter(({ name }) => /metrics/.test(name))).toEqual([]);
}, 120_000);
