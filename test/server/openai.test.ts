/** OpenAI's client, as it is, against the server. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Keys } from "../../src/server/keys.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { film } from "../support/film.ts";
import { complete, jobServer, type JobServer } from "../support/job-server.ts";

let server: JobServer;
let client: OpenAI;
let other: OpenAI;
/** Two seconds, 64 × 64. */
let movie: Uint8Array<ArrayBuffer>;

beforeAll(async () => {
  server = await jobServer({ first: {}, second: {} }, { privateWebhooks: true });
  const clientOf = (apiKey: string): OpenAI => new OpenAI({ apiKey, baseURL: `${server.url}/v1`, maxRetries: 0 });
  client = clientOf(server.keys["first"]!);
  other = clientOf(server.keys["second"]!);
  movie = await encodeVideo(film(), { format: "mp4", fps: 8 });
});
afterAll(() => server[Symbol.asyncDispose]());

describe("client.videos", () => {
  it("creates, with texts for numbers, and tells the settings that were resolved", async () => {
    const fields = { num_inference_steps: 3, guidance_scale: 1, num_frames: 9, seed: 7, negative_prompt: "blur" };
    const video = await client.videos.create({ prompt: "a red circle", model: "moving-shapes", ...fields });
    expect(video).toMatchObject({ object: "video", status: "queued", progress: 0, size: "64x64", seed: 7, num_frames: 9, seconds: "1.13" });
    const job = await server.store.get(video.id);
    expect(job?.request).toEqual({
      kind: "text",
      model: "moving-shapes",
      prompt: "a red circle",
      width: 64,
      height: 64,
      frames: 9,
      fps: 8,
      steps: 3,
      guidance: 1,
      seed: 7,
      negativePrompt: "blur",
    });
    expect((await client.videos.retrieve(video.id)).id).toBe(video.id);
  });

  it("takes OpenAI's own seconds and size", async () => {
    const video = await client.videos.create({ prompt: "x", seconds: "4", size: "32x48" as "720x1280" });
    expect(video).toMatchObject({ size: "32x48", num_frames: 32, seconds: "4" });
  });

  it("downloads, lists page by page, remixes and deletes", async () => {
    const made = [];
    for (const prompt of ["one", "two", "three"]) made.push(await other.videos.create({ prompt }));
    await complete(server, made[0]!.id, movie);
    const content = await other.videos.downloadContent(made[0]!.id);
    expect(content.headers.get("content-type")).toBe("video/mp4");
    expect(new Uint8Array(await content.arrayBuffer())).toEqual(movie);
    const listed = [];
    for await (const video of other.videos.list({ limit: 2 })) listed.push(video.prompt);
    expect(listed).toEqual(["three", "two", "one"]);
    const oldest = await other.videos.list({ order: "asc", limit: 1 });
    expect(oldest.data.map(({ status }) => status)).toEqual(["completed"]);

    const remix = await other.videos.remix(made[0]!.id, { prompt: "four" });
    expect(remix).toMatchObject({ prompt: "four", remixed_from_video_id: made[0]!.id });
    const [from, to] = [await server.store.get(made[0]!.id), await server.store.get(remix.id)];
    expect(to?.request).toEqual({ ...from?.request, prompt: "four" });

    expect(await other.videos.delete(made[1]!.id)).toEqual({ id: made[1]!.id, object: "video.deleted", deleted: true });
    await expect(other.videos.retrieve(made[1]!.id)).rejects.toThrow(OpenAI.NotFoundError);
    expect(await server.store.get(made[1]!.id)).toBeUndefined();
  });

  it("edits a video that is uploaded, and one that was made here", async () => {
    const uploaded = await client.videos.edit({ video: await toFile(movie, "film.mp4"), prompt: "a blue square" });
    const job = (await server.store.get(uploaded.id))!;
    expect(job.request).toMatchObject({ kind: "video", frames: 17, prompt: "a blue square" });
    expect(await server.backend.blobs.get(job.request.input!)).toEqual(movie);
    const source = await client.videos.create({ prompt: "x", ...{ num_frames: 9 } });
    await expect(client.videos.edit({ video: { id: source.id }, prompt: "y" })).rejects.toThrow(/completed.*queued; wait for it/);
    await complete(server, source.id, movie);
    const edited = await client.videos.edit({ video: { id: source.id }, prompt: "y", ...{ strength: 0.5 } });
    expect(edited).toMatchObject({ num_frames: 9, remixed_from_video_id: source.id });
    expect((await server.store.get(edited.id))?.request.strength).toBe(0.5);
    await expect(other.videos.edit({ video: { id: source.id }, prompt: "y" })).rejects.toThrow(OpenAI.NotFoundError);
  });

  it("takes what it begins from by vLLM-Omni's names too, one at a time", async () => {
    const url = `data:video/mp4;base64,${Buffer.from(movie).toString("base64")}`;
    const more = { video_reference: JSON.stringify({ video_url: url }), user: "ann", extra_params: JSON.stringify({ strength: 0.5 }) };
    const made = await client.videos.create({ prompt: "x", ...more });
    const job = (await server.store.get(made.id))!;
    expect(job.request).toMatchObject({ kind: "video", strength: 0.5, prompt: "x" });
    expect(await server.backend.blobs.get(job.request.input!)).toEqual(movie);
    const picture = { image_reference: { image_url: "data:image/png;base64,AAAA" } };
    await expect(client.videos.create({ prompt: "x", ...more, ...picture })).rejects.toThrow(
      /one thing at most, got image_reference and video_reference/,
    );
    await expect(client.videos.create({ prompt: "x", ...picture })).rejects.toThrow(OpenAI.BadRequestError);
    const elsewhere = { video_reference: { video_url: "http://127.0.0.1/a.mp4" } };
    await expect(client.videos.create({ prompt: "x", ...elsewhere })).rejects.toThrow(/must be a data: address/);
    await expect(client.videos.create({ prompt: "x", ...{ boundary_ratio: 0.9 } })).rejects.toThrow(/got "boundary_ratio"; leave it out/);
  });

  it("is told what this model cannot: pictures and extensions need another checkpoint", async () => {
    const video = await toFile(movie, "film.mp4");
    await expect(client.videos.extend({ video, prompt: "on", seconds: "4" })).rejects.toThrow(/makes videos from text.*got image/);
    await expect(client.videos.create({ prompt: "x", input_reference: await toFile(movie, "a.png") })).rejects.toThrow(/got image/);
    await expect(client.videos.create({ prompt: "x", input_reference: await toFile(Buffer.from("no picture"), "a.png") })).rejects.toThrow(
      OpenAI.BadRequestError,
    );
  });

  it.each([
    [{ width: 65 }, "width", /multiples of 16, got width 65; the nearest is 64/],
    [{ num_frames: 10 }, "num_frames", /8·k or 8·k \+ 1 frames, got 10; the nearest are 8, 9, 16, 17/],
    [{ num_inference_steps: 0 }, "num_inference_steps", /steps must be a whole number from 1 to 1000, got 0/],
    [{ num_inference_steps: "many" }, "num_inference_steps", /must be a number of denoising steps, got "many"/],
    [{ size: "big" }, "size", /must be WIDTHxHEIGHT/],
    [{ model: "sora-2" }, "model", /must be moving-shapes.*got "sora-2"/],
    [{ lora: { name: "x" } }, "lora", /must be one that the server was started with, which are none, got "x"/],
    [{ lora: { path: "/etc/passwd" } }, "lora", /must be an object of name and scale, or of adapter_names/],
    [{ flow_shift: 3 }, "flow_shift", /no flow model/],
    [{ promt: "x" }, "promt", /got "promt"; did you mean prompt\?/],
    [{ extra_params: { strength: 0.5 } }, null, /strength goes with a video/],
    [{ extra_params: { seed: 1 }, seed: 2 }, "extra_params", /once, got seed and extra_params.seed/],
    [{ prompt: " " }, "prompt", /the prompt must not be empty/],
    [{ webhook: "ftp://example.org" }, "webhook", /must be an http or https address/],
  ])("refuses %j before it is queued", async (fields, param, message) => {
    const before = (await server.store.list({ limit: 1000 })).jobs.length;
    const refused = await client.videos.create({ prompt: "x", ...(fields as object) }).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(OpenAI.BadRequestError);
    expect((refused as InstanceType<typeof OpenAI.BadRequestError>).message).toMatch(message);
    expect((refused as InstanceType<typeof OpenAI.BadRequestError>).param).toBe(param);
    expect((await server.store.list({ limit: 1000 })).jobs.length).toBe(before);
  });

  it("knows nothing of another key's jobs, by any call", async () => {
    const { id } = await client.videos.create({ prompt: "mine" });
    await complete(server, id, movie);
    for (const call of [
      () => other.videos.retrieve(id),
      () => other.videos.delete(id),
      () => other.videos.downloadContent(id),
      () => other.videos.remix(id, { prompt: "x" }),
      () => other.get(`/videos/${id}/events`),
      () => other.post(`/videos/${id}/cancel`),
    ])
      await expect(call()).rejects.toThrow(OpenAI.NotFoundError);
    for await (const video of other.videos.list()) expect(video.id).not.toBe(id);
    await expect(new OpenAI({ apiKey: "cw_no", baseURL: `${server.url}/v1`, maxRetries: 0 }).videos.list()).rejects.toThrow(
      OpenAI.AuthenticationError,
    );
  });

  it("lists models", async () => {
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    expect(models).toEqual(["moving-shapes"]);
  });
});

it("webhooks are signed as OpenAI's client checks, tried again, and told once", async () => {
  const heard: { body: string; headers: Headers }[] = [];
  let refuse = 1;
  const receiver = createServer((request, response) => {
    let body = "";
    request.on("data", (piece: Buffer) => (body += piece.toString()));
    request.on("end", () => {
      if (refuse-- > 0) return response.writeHead(500).end();
      heard.push({ body, headers: new Headers(request.headers as Record<string, string>) });
      return response.end();
    });
  });
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const webhook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
  const { id } = await client.videos.create({ prompt: "x", ...{ webhook } });
  await complete(server, id, movie);
  await expect.poll(() => heard.length, { timeout: 10_000 }).toBe(1);
  const key = await new Keys(server.backend.values).find(server.keys["first"]!);
  const event = await client.webhooks.unwrap(heard[0]!.body, heard[0]!.headers, key!.webhookSecret);
  expect(event).toMatchObject({ object: "event", type: "video.completed", data: { id } });
  const forged = heard[0]!.body.replace(id, id.replace(/.$/, "z"));
  await expect(client.webhooks.unwrap(forged, heard[0]!.headers, key!.webhookSecret)).rejects.toThrow();
  receiver.close();
});
