/** Adapters by name in requests: what comes out, what is refused, and that a worker needs none of the server's files. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { sha256 } from "../../src/base/sha256.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { loadLora } from "../../src/pipelines/lora-file.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { jobServer, MODEL, type JobServer } from "../support/job-server.ts";
import { jobWorker, untilJob } from "../support/job-worker.ts";
import { fileOf, pairs, plain } from "../support/lora.ts";

let gpu: Gpu;
let model: CogVideoX;
let server: JobServer;
let water: Uint8Array<ArrayBuffer>;
let smoke: Uint8Array<ArrayBuffer>;
beforeAll(async () => {
  gpu = await Gpu.open();
  // As workers have it: onto weights that are kept an adapter is put otherwise than it is loaded with them, which rounds otherwise.
  model = await CogVideoX.open(MODEL, { gpu, keep: true });
  const { num_attention_heads: heads, attention_head_dim: size } = model.configs.transformer;
  const drawn = (seed: number) =>
    new Uint8Array(fileOf(pairs({ "transformer_blocks.0.attn1.to_q": [heads * size, heads * size] }, 2, seed, plain)));
  [water, smoke] = [drawn(1), drawn(2)];
  server = await jobServer(
    {},
    {
      adapters: {
        files: new Map([
          ["water", water],
          ["smoke", smoke],
        ]),
        maxScale: 1.5,
      },
    },
  );
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await model[Symbol.asyncDispose]();
  await gpu[Symbol.asyncDispose]();
});

const fields = { prompt: "a red circle", num_frames: 9, num_inference_steps: 2, seed: 5 };
async function post(body: FormData | object, path = ""): Promise<{ id: string; error: { message: string; code: string; param: string } }> {
  const form = body instanceof FormData;
  const response = await fetch(`${server.url}/v1/videos${path}`, {
    method: "POST",
    ...(form ? {} : { headers: { "content-type": "application/json" } }),
    body: form ? body : JSON.stringify({ ...(path ? {} : fields), ...body }),
  });
  return (await response.json()) as Awaited<ReturnType<typeof post>>;
}

/** The digest of what `generate` makes with these. */
async function generated(adapters: readonly [name: string, bytes: Uint8Array, scale: number][]): Promise<string> {
  const loras = await Promise.all(
    adapters.map(async ([label, bytes, scale]) => ({ adapter: { ...(await loadLora(bytes)), label }, scale })),
  );
  const { frames, settings, made } = await model.generate({
    prompt: "a red circle",
    frames: 9,
    steps: 2,
    seed: 5,
    ...(loras.length ? { loras } : {}),
  });
  return await sha256(await encodeVideo(frames, { format: "mp4", fps: settings.fps, made }));
}

test("a request's adapters are those of generate, in JSON and in a form, and a remix has them too", async () => {
  await using _ = jobWorker(server.store, "plain", {
    models: [{ name: "moving-shapes", open: (keep) => CogVideoX.open(MODEL, { gpu, keep }) }],
  });
  const digest = async ({ id }: { id: string }) =>
    (await untilJob(server.store, id, ({ status }) => status === "completed")).output!.digest;
  const form = new FormData();
  for (const [name, value] of Object.entries({ ...fields, lora: '{"name":"water","scale":"0.5"}' })) form.set(name, String(value));
  const asked = [
    await post({}),
    await post({ lora: { name: "water" } }),
    await post(form),
    await post({ lora: { adapter_names: ["water", "smoke"], adapter_weights: [1, -0.5] } }),
  ];
  const remixed = await post({ prompt: fields.prompt }, `/${asked[1]!.id}/remix`);
  const [none, one, half, both, again] = await Promise.all([...asked, remixed].map(digest));
  expect(new Set([none, one, half, both]).size).toBe(4);
  expect(none).toBe(await generated([]));
  expect(one).toBe(await generated([["water", water, 1]]));
  expect(half).toBe(await generated([["water", water, 0.5]]));
  expect(both).toBe(
    await generated([
      ["water", water, 1],
      ["smoke", smoke, -0.5],
    ]),
  );
  expect(again).toBe(one);
}, 60_000);

test("others, larger scales and unlike lists are refused; /v1/models names those that there are", async () => {
  const refused = async (lora: object) => (await post({ lora })).error;
  expect(await refused({ name: "fire" })).toMatchObject({
    code: "adapter_not_found",
    param: "lora",
    message: 'an adapter must be among water, smoke, got "fire"; GET /v1/models lists them',
  });
  expect((await refused({ name: "water", scale: -2 })).message).toMatch(/scale must be from -1\.5 to 1\.5 here, got -2/);
  expect((await refused({ adapter_names: ["water", "smoke"], adapter_weights: [1, 1, 1] })).message).toMatch(
    /one for each of 2 adapters, got 3/,
  );
  expect((await refused({ adapter_names: ["water", "water"] })).message).toMatch(/named once, got "water" twice/);
  const models = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: { adapters: string[] }[] };
  expect(models.data[0]!.adapters).toEqual(["water", "smoke"]);
});

test("an adapter of another model keeps the server from beginning", async () => {
  const other = new Uint8Array(fileOf(pairs({ "transformer_blocks.0.attn1.to_q": [24, 24] }, 2, 1, plain)));
  await expect(jobServer({}, { adapters: { files: new Map([["x", other]]), maxScale: 1 } })).rejects.toThrow(/\[lora\] x/);
});
