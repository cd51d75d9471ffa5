/**
 * Several calls on one model at once, aborts between them, and an end while one is under way:
 * each gets its result, and nothing is left behind.
 */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { Turns } from "../../src/pipelines/turns.ts";
import type { Video } from "../../src/pipelines/video.ts";
import { VideoVae } from "../../src/pipelines/video-vae.ts";
import { limitedGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const ROOT = join(import.meta.dirname, "../..");
const prompt = "a red circle moving left";
const bytes = ({ frames }: Video): string => Buffer.concat(frames.map((f) => f.data)).toString("base64");
const outcome = (run: PromiseLike<unknown>): Promise<string> =>
  Promise.resolve(run).then(
    () => "done",
    (error: Error) => error.message,
  );

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
  gpu = await limitedGpu({});
  folder = await tinyCheckpoint();
});
afterAll(async () => {
  await gpu[Symbol.asyncDispose]();
  await removeTinyCheckpoints();
});

describe.each([true, false])("with keep: %s", (keep) => {
  it("generations at once follow each other, each with its own result, and leave nothing", async () => {
    const open = () => CogVideoX.open(folder, { gpu, dtype: "f32", keep });
    const want: string[] = [];
    {
      await using alone = await open();
      for (const seed of [1, 2, 3]) want.push(bytes(await alone.generate({ prompt, seed, frames: seed === 2 ? 1 : 9 })));
    }
    const model = await open();
    let [running, most] = [0, 0];
    const queued: number[][] = [[], [], []];
    const runs = [1, 2, 3].map((seed) =>
      model.generate({
        prompt,
        seed,
        frames: seed === 2 ? 1 : 9,
        onProgress: (stage, done) => {
          if (stage === "queued") queued[seed - 1]!.push(done);
          if (stage === "load text encoder" && done === 0) most = Math.max(most, ++running);
          if (stage === "decode" && done === 1) running--;
        },
      }),
    );
    expect((await Promise.all(runs)).map(bytes)).toEqual(want);
    expect(most).toBe(1);
    expect(queued, "two waited, and were told of it").toEqual([[], [0, 1], [0, 1]]);
    await model.close();
    await expect(model.generate({ prompt, seed: 1 })).rejects.toMatchObject({ code: "aborted" });
    expect(gpu.memory.allocated).toBe(0);
  });

  it("one that fails or is aborted, at work or waiting, holds none of the others up", async () => {
    const model = await CogVideoX.open(folder, { gpu, dtype: "f32", keep });
    const [first, waiting] = [new AbortController(), new AbortController()];
    const runs = [
      model.generate({
        prompt,
        seed: 1,
        signal: first.signal,
        onStep: ({ step }) => {
          if (step === 2) first.abort(new Error("enough"));
        },
      }),
      model.generate({ prompt, seed: 1, signal: waiting.signal }),
      model.generate({ prompt, seed: 1, width: 31 }),
      model.generate({ prompt, seed: 1, frames: 1 }),
    ];
    waiting.abort(new Error("not any more"));
    expect(await outcome(runs[1]!), "at once").toBe("not any more");
    const [aborted, , wrong, last] = await Promise.all(runs.map(outcome));
    expect(aborted).toMatch(/^\[generate\] stopped after step 2 of 4: enough/);
    expect(wrong).toMatch(/width/);
    expect(last).toBe("done");
    await model[Symbol.asyncDispose]();
    expect(gpu.memory.allocated).toBe(0);
  });

  it("dispose ends what is under way and what waits, in every stage, and frees all memory", async () => {
    for (const at of ["load text encoder", "encode prompt", "load transformer", "denoise", "load decoder", "decode"])
      for (const share of [0, 1]) {
        const model = await CogVideoX.open(folder, { gpu, dtype: "f32", keep });
        let ending: Promise<void> | undefined;
        const run = model.generate({
          prompt,
          seed: 1,
          onProgress: (stage, done) => {
            if (stage === at && done === share) ending ??= model[Symbol.asyncDispose]();
          },
        });
        const [next, result] = [outcome(model.generate({ prompt, seed: 2 })), await outcome(run)];
        await ending;
        expect(gpu.memory.allocated, `${at} ${share}`).toBe(0);
        const gone = "a model cannot be used after dispose; open it again, and await what is under way before";
        if (!(at === "decode" && share === 1)) expect(result, at).toContain(gone);
        expect(await next).toBe(`[generate] ${gone}`);
        expect(await outcome(model.generate({ prompt }))).toBe(`[generate] ${gone}`);
      }
  });

  it("may be disposed of, and released, from a generation's own callbacks", async () => {
    for (const callback of ["onStep", "onFrames"] as const) {
      const model = await CogVideoX.open(folder, { gpu, dtype: "f32", keep });
      expect(await outcome(model.generate({ prompt, seed: 1, [callback]: () => model[Symbol.asyncDispose]() }))).toContain(
        "cannot be used after dispose",
      );
      expect(gpu.memory.allocated).toBe(0);
    }
    await using model = await CogVideoX.open(folder, { gpu, dtype: "f32", keep });
    expect(await outcome(model.generate({ prompt, seed: 1, onStep: () => model.release() }))).toBe("done");
    expect(gpu.memory.allocated, "released when it was over").toBe(0);
  });
});

it("a call takes its options and lists as they are when it is made, alone or waiting", async () => {
  await using model = await CogVideoX.open(folder, { gpu, dtype: "f32", keep: true });
  const want: string[] = [];
  for (const seed of [1, 2, 3]) want.push(bytes(await model.generate({ prompt, seed, frames: 1 })));
  const options = { prompt, seed: 1, frames: 1 };
  const runs = [1, 2, 3].map((seed) => {
    options.seed = seed;
    return model.generate(options);
  });
  Object.assign(options, { seed: 9, width: 31 });
  expect((await Promise.all(runs)).map(bytes)).toEqual(want);
});

it("what is released while others wait is freed between them, also after a device was lost", async () => {
  await using model = await CogVideoX.open(folder, { gpu, dtype: "f32", keep: true });
  const held: number[] = [];
  const later = (seed: number) =>
    model.generate({
      prompt,
      seed,
      frames: 1,
      onProgress: (stage, done) => {
        if (stage === "load text encoder" && done === 0) held.push(gpu.memory.allocated);
      },
    });
  await Promise.all([model.generate({ prompt, seed: 1, frames: 1, onStep: () => model.release() }), later(2), later(3)]);
  expect(held[0], "after the release").toBe(0);
  expect(held[1], "kept again").toBeGreaterThan(0);
  const next = later(4);
  model.release();
  await next;
  expect(gpu.memory.allocated, "of one that was waiting").toBe(0);

  await using own = await CogVideoX.open(folder, { dtype: "f32", keep: true });
  const [first, planned] = [own.gpu, own.requirements({ frames: 1 })];
  expect(own.requirements({ frames: 1 })).toBe(planned);
  await own.generate({
    prompt,
    seed: 1,
    frames: 1,
    onStep: ({ step }) => {
      if (step === 2 && own.gpu === first) {
        own.release();
        first.device.destroy();
      }
    },
  });
  expect(own.gpu).not.toBe(first);
  expect(own.gpu.memory.allocated).toBe(0);
  expect(own.requirements({ frames: 1 }), "of another adapter").not.toBe(planned);
});

describe("a VideoVae", () => {
  it("takes frames and latents as they are when it is called", async () => {
    await using vae = await VideoVae.open(folder, { gpu, dtype: "f32" });
    const latents = { data: new Float32Array(96).fill(0.1), frames: 3, channels: 4, height: 2, width: 4 };
    const [frames] = [await vae.decode(latents)];
    const encoded = await vae.encode(frames);
    const input = frames.map((frame) => ({ ...frame, data: frame.data.slice() }));
    const [busy, waiting, encoding] = [vae.decode(latents), vae.decode(latents), vae.encode(input)];
    latents.data.fill(0.7);
    for (const { data } of input) data.fill(0);
    expect([await busy, await waiting]).toEqual([frames, frames]);
    expect(await encoding).toEqual(encoded);
  });

  it("decodes one after another, and is ended while it does", async () => {
    const latents = (value: number) => ({ data: new Float32Array(96).fill(value), frames: 3, channels: 4, height: 2, width: 4 });
    const vae = await VideoVae.open(folder, { gpu, dtype: "f32" });
    const want = [await vae.decode(latents(0.1)), await vae.decode(latents(0.7))];
    expect(await Promise.all([vae.decode(latents(0.1)), vae.decode(latents(0.7))])).toEqual(want);
    const runs = [vae.decode(latents(0.1)), vae.decode(latents(0.2)), vae.encode(want[0]!)].map(outcome);
    await vae[Symbol.asyncDispose]();
    for (const run of runs)
      expect(await run).toBe("[vae] a VideoVae cannot be used after dispose; open it again, and await what is under way before");
    expect(gpu.memory.allocated).toBe(0);
    // Before the first weight is there.
    const other = await VideoVae.open(folder, { gpu, dtype: "f32" });
    const early = outcome(other.decode(latents(0.1)));
    await other[Symbol.asyncDispose]();
    expect(await early).toContain("cannot be used after dispose");
    expect(gpu.memory.allocated).toBe(0);
  });
});

describe("turns", () => {
  it("keep their order, whatever becomes of those before", async () => {
    const turns = new Turns("test", "it");
    const order: number[] = [];
    const wait = (i: number, ms: number, fails = false) =>
      turns.take(undefined, async () => {
        await new Promise((resolve) => setTimeout(resolve, ms));
        order.push(i);
        if (fails) throw new Error(`${i}`);
      });
    const controller = new AbortController();
    const all = [wait(0, 20), wait(1, 5, true), turns.take(controller.signal, async () => void order.push(2)), wait(3, 1), wait(4, 0)].map(
      outcome,
    );
    controller.abort(new Error("2"));
    expect(await Promise.all(all)).toEqual(["done", "1", "2", "done", "done"]);
    expect(order).toEqual([0, 1, 3, 4]);
    await turns.end();
    expect(await outcome(turns.take(undefined, () => Promise.resolve()))).toContain("it cannot be used after dispose");
  });

  it("leave nothing to nobody of a callback that ends them, and call none after the end", async () => {
    const turns = new Turns("test", "it");
    const unhandled: unknown[] = [];
    const listen = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", listen);
    const called: number[] = [];
    const call = (i: number): Promise<string> =>
      outcome(
        turns.callback(async () => {
          called.push(i);
          void turns.end();
          await new Promise((resolve) => setTimeout(resolve, 5));
          throw new Error("rejected after the end");
        }),
      );
    expect(await call(1)).toContain("cannot be used after dispose");
    expect(await call(2)).toContain("cannot be used after dispose");
    await new Promise((resolve) => setTimeout(resolve, 30));
    process.off("unhandledRejection", listen);
    expect(called).toEqual([1]);
    expect(unhandled).toEqual([]);
  });
});

it("a process whose generations were queued, aborted and disposed of comes to its end by itself", () => {
  execFileSync(process.execPath, ["build.mjs", "--if-stale"], { cwd: ROOT });
  const script = join(folder, "turns.mjs");
  writeFileSync(
    script,
    `
    import { CogVideoX, VideoVae } from ${JSON.stringify(join(ROOT, "dist/node.js"))};
    const model = await CogVideoX.open(${JSON.stringify(folder)}, { keep: true });
    const controller = new AbortController();
    const aborted = { signal: controller.signal };
    const runs = [1, 2, 3].map((seed) => model.generate({ prompt: "a", seed, frames: 1, ...(seed === 2 ? aborted : {}) }));
    controller.abort();
    const third = runs[2].then(() => "done", (error) => error.message);
    const [first, second] = await Promise.allSettled(runs.slice(0, 2));
    // Nobody hears of these, neither of the one that runs nor of the one that waits.
    for (const seed of [4, 5]) void model.generate({ prompt: "a", seed, frames: 1 });
    await model[Symbol.asyncDispose]();
    console.log(first.status, second.reason.name, await third, model.gpu.memory.allocated);
    const vae = await VideoVae.open(${JSON.stringify(folder)});
    for (let i = 0; i < 2; i++) void vae.decode({ data: new Float32Array(96), frames: 3, channels: 4, height: 2, width: 4 });
    await vae[Symbol.asyncDispose]();
  `,
  );
  expect(execFileSync(process.execPath, [script], { encoding: "utf8", timeout: 60_000 })).toMatch(
    /^fulfilled AbortError .*cannot be used after dispose.* 0\n$/,
  );
});
