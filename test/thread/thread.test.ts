/** A model in a thread of its own gives what one in this thread gives, refuses what it refuses, and ends as it ends. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CogVideoX, CogwheelError, GenerationInterrupted } from "../../src/index.ts";
import { openSource } from "../../src/hub/open-node.ts";
import type { RgbaFrame } from "../../src/video/frame.ts";
import { CogVideoX as Threaded } from "../../src/worker.ts";
import { serve } from "../../src/thread/serve.ts";
import type { Message } from "../../src/thread/protocol.ts";

const DOOR = pathToFileURL(join(import.meta.dirname, "../../dist/node-worker.js")).href;
const asked = { prompt: "a red circle", steps: 3, frames: 9, seed: 1 } as const;
const bytesOf = (frames: readonly RgbaFrame[]): Buffer => Buffer.concat(frames.map(({ data }) => data as Uint8Array));

let here: CogVideoX;
let there: Threaded;
beforeAll(async () => {
  [here, there] = await Promise.all([CogVideoX.open(), Threaded.open()]);
}, 120_000);
afterAll(async () => {
  await there.close();
  await here.close();
});

describe("a generation", () => {
  it("has the bytes, the steps with previews, the frames and the progress that it has here", async () => {
    expect([there.adapter, there.dtype, there.defaults, there.rules]).toEqual([here.gpu.name, here.dtype, here.defaults, here.rules]);
    const of = async (model: Pick<Threaded, "generate">) => {
      const seen: unknown[] = [];
      const run = model.generate({
        ...asked,
        preview: true,
        onProgress: (stage, done, _, all) => void (stage === "denoise" && seen.push(stage, done, all!.overall > 0)),
        onFrames: async (frames, first, sample) => {
          await Promise.resolve();
          seen.push(frames.length, first, sample);
        },
      });
      const steps: unknown[] = [];
      for await (const { step, steps: all, state, preview } of run) steps.push([step, all, state.latents.length, bytesOf(preview())]);
      const { samples, settings, state, made, seconds } = await run;
      return { seen, steps, frames: bytesOf(samples[0]!), settings, state, made, stages: Object.keys(seconds) };
    };
    expect(await of(there)).toEqual(await of(here));
  });

  it("sends its frames without copying them", async () => {
    const sent: { message: Message; buffers: readonly ArrayBuffer[] }[] = [];
    let hear!: (message: Message) => void;
    serve({ post: (message, buffers) => void sent.push({ message, buffers }), hear: (heard) => (hear = heard) }, () =>
      Promise.resolve({ CogVideoX, measureRates: () => Promise.reject(new Error("not asked for")) }),
    );
    const options = (data: object) => ({ task: 0, data, callbacks: [] });
    const answer = async (id: number, name: string, arg: unknown) => {
      hear({ type: "call", id, name, args: [arg] });
      return await expect.poll(() => sent.find(({ message }) => "id" in message && message.id === id), { timeout: 60_000 }).toBeDefined();
    };
    await answer(1, "open", { from: undefined, page: undefined, options: options({}) });
    await answer(2, "generate", options({ ...asked, preview: true }));
    const step = sent.find(({ message }) => message.type === "news" && message.name === "step")!;
    expect(step.buffers.length, "previews").toBeGreaterThan(0);
    const { message, buffers } = sent.at(-1)!;
    const { value } = message as { value: { samples: RgbaFrame[][] } };
    expect(new Set(buffers)).toEqual(new Set(value.samples.flat().map(({ data }) => data.buffer)));
    await answer(3, "close", undefined);
  }, 120_000);

  it("waits for those before it, and says so", async () => {
    const told: unknown[] = [];
    const first = there.generate({ ...asked, steps: 1, frames: 1 });
    const second = there.generate({ ...asked, steps: 1, frames: 1, onProgress: (...of) => void told.push(of.slice(0, 2)) });
    await Promise.all([first, second]);
    expect(told.slice(0, 2)).toEqual([
      ["queued", 0],
      ["queued", 1],
    ]);
  });

  it("of several prompts gives each video as it is made", async () => {
    const prompts = ["a red circle", "a blue square"];
    const run = there.generate({ prompts, steps: 1, frames: 1, seed: 2 });
    const seen: string[] = [];
    for await (const video of run) seen.push(video.settings.prompt);
    expect(seen).toEqual(prompts);
    expect((await run).map(({ frames }) => frames.length)).toEqual([1, 1]);
  });

  it("that is stopped has the reason and a state, from which another goes on to the same bytes", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    const run = there.generate({
      ...asked,
      signal: controller.signal,
      onStep: ({ step }) => void (step === 2 && controller.abort(reason)),
    });
    const error = (await run.then(undefined, (error: unknown) => error)) as GenerationInterrupted;
    expect(error).toBeInstanceOf(GenerationInterrupted);
    expect(error).toBeInstanceOf(CogwheelError);
    expect([error.code, error.name, error.cause]).toEqual(["aborted", "GenerationInterrupted", reason]);
    expect(error.message).toContain("stopped after step 2 of 3: enough");
    const rest = await there.generate({ ...asked, start: error.state });
    const whole = await here.generate(asked);
    expect(bytesOf(rest.frames)).toEqual(bytesOf(whole.frames));
    // Before its first step it rejects with the reason itself.
    await expect(there.generate({ ...asked, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});

describe("what goes wrong", () => {
  it.each([{ steps: -1 }, { pictures: 1 }, { prompt: "" }, { image: { width: 1, height: 1, data: new Uint8Array(3) } }])(
    "%o is refused as it is here",
    async (wrong) => {
      const of = (model: Pick<Threaded, "generate">) =>
        model.generate({ ...asked, ...wrong }).then(undefined, ({ name, message, code }: CogwheelError) => ({ name, message, code }));
      const refused = await of(there);
      expect(refused).toEqual(await of(here));
      expect(refused).toMatchObject({ name: "CogwheelError", code: expect.any(String) as string });
    },
  );

  it.each([
    ["textures", { textures: true }],
    ["image.data", { image: { width: 1, height: 1, data: () => undefined } }],
    ["promptEmbeds", { promptEmbeds: new WeakMap() }],
  ])("%s is no data", async (name, wrong) => {
    await expect(there.generate({ ...asked, ...(wrong as object) })).rejects.toMatchObject({
      code: "invalid-request",
      message: expect.stringMatching(`^\\[worker\\] ${name} must be data that another thread can be given, got `) as string,
    });
  });

  it("in a callback comes back as it was thrown", async () => {
    const mine = new TypeError("mine");
    const fail = (): never => {
      throw mine;
    };
    await expect(there.generate({ ...asked, onStep: fail })).rejects.toMatchObject({ name: "GenerationInterrupted", cause: mine });
    await expect(there.generate({ ...asked, onProgress: fail })).rejects.toBe(mine);
  });

  it("in opening: a name, a source, a device of another thread", async () => {
    await expect(Threaded.open("nowhere/at/all/here")).rejects.toMatchObject({ name: "CogwheelError", code: "model" });
    await expect(Threaded.open(5 as unknown as string)).rejects.toThrow("[checkpoint] must be named by text");
    await expect(Threaded.open(undefined, { gpu: here.gpu } as object)).rejects.toThrow("[worker] gpu must be data");
    await expect(Threaded.open(undefined, { worker: {} as Worker })).rejects.toThrow("[worker] the option worker is for pages");
  }, 60_000);
});

it("a source stays here and reads for it", async () => {
  const source = await openSource(undefined);
  const reads: string[] = [];
  const ahead: { path: string | undefined; signal: AbortSignal }[] = [];
  let broken: Error | undefined;
  const model = await Threaded.open({
    label: "mine/moving-shapes",
    list: () => source.list(),
    exists: (path) => source.exists(path),
    size: (path) => source.size(path),
    read(path, start, end) {
      reads.push(path);
      return broken ? Promise.reject(broken) : source.read(path, start, end);
    },
    prefetch: (ranges, signal) => void ahead.push({ path: ranges[0]?.path, signal }),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  });
  expect(model.label).toBe("mine/moving-shapes");
  expect((await model.generate({ ...asked, steps: 1, frames: 1 })).made["model"]).toBe("moving-shapes");
  expect(reads).toContain("transformer/diffusion_pytorch_model.safetensors");
  // It is told what will be read, until that is read.
  expect(ahead.map(({ path }) => path)).toContain("transformer/diffusion_pytorch_model.safetensors");
  expect(ahead.every(({ signal }) => signal.aborted)).toBe(true);
  broken = new Error("the disk is gone");
  await expect(model.generate({ ...asked, steps: 1, frames: 1 })).rejects.toBe(broken);
  await model.close();
  await expect(source.exists("model_index.json")).rejects.toThrow("must not be used after dispose");
}, 60_000);

it("says beforehand what it takes, and what the model knows", async () => {
  expect(await there.requirements({ frames: 9 })).toEqual(here.requirements({ frames: 9 }));
  expect(await there.promptAdvice("a cat")).toBe(here.promptAdvice("a cat"));
  expect(await there.encodePrompt(asked)).toEqual(await here.encodePrompt(asked));
});

describe("in a process of its own", () => {
  const run = (body: string) =>
    spawnSync(process.execPath, ["--input-type=module", "-e", `const { CogVideoX } = await import(${JSON.stringify(DOOR)});\n${body}`], {
      encoding: "utf8",
    });
  const GENERATE = "const model = await CogVideoX.open(); const asked = { prompt: 'a red circle', steps: 1, frames: 1 };\n";

  it("an open model does not keep the process going, one that is closed refuses", () => {
    const { status, stdout } = run(`${GENERATE}
      console.log((await model.generate(asked)).frames.length);
      const late = model.generate({ ...asked, steps: 1000 });
      await model.close();
      console.log(await late.catch(({ code }) => code), await model.generate(asked).catch(({ code }) => code));`);
    expect([status, stdout]).toEqual([0, "1\naborted aborted\n"]);
  }, 60_000);

  it("process.exit() in the midst of a generation has the code that it was given", () => {
    const { status, stderr } = run(`${GENERATE}
      const run = model.generate({ ...asked, steps: 100, frames: 49 });
      for await (const step of run) process.exit(3);`);
    expect([status, stderr.replace(/^Warning: .*artificially reduced.*$/gm, "").trim()]).toEqual([3, ""]);
  }, 60_000);
});
