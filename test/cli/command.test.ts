/** `cogwheel generate` as a user has it: dist/launch.js in processes of its own, with a tiny checkpoint. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cp } from "node:fs/promises";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { writeLatents } from "../../src/pipelines/latents-file.ts";
import { readLatents } from "../../src/pipelines/read-latents.ts";
import type { Video } from "../../src/pipelines/video.ts";
import { decodeVideo } from "../../src/video/decode.ts";
import { chatServer } from "../support/chat-server.ts";
import { useCommand } from "../support/command.ts";
import { relativeL2 } from "../support/compare.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { tinyFrame, tinyTask, type TINY_TASKS } from "../support/tiny-tasks.ts";
import type { Ended, Watch } from "../support/watched.ts";

const PROMPT = "a red circle moving left";
const { folder, run: cogwheel } = useCommand();
let model: string;

beforeAll(async () => {
  model = await tinyCheckpoint();
});
afterAll(removeTinyCheckpoints);

const generate = (args: readonly string[], watch?: Watch): Promise<Ended> =>
  cogwheel(["generate", "--model", model, "--seed", "7", ...args], {}, watch);
const files = () => readdirSync(folder, { recursive: true }).map(String).sort();
const lines = (text: string) => text.trimEnd().split("\n");

/** Finished latents, made here, for runs that are about what comes after. */
async function finished(name: string, frames: number): Promise<Video> {
  await using opened = await CogVideoX.open(model, { gpu: await testGpu(), dtype: "f32" });
  const video = await opened.generate({ prompt: PROMPT, seed: 7, frames });
  writeFileSync(
    join(folder, name),
    writeLatents({ state: video.state, shape: [1, video.state.latents.length / 32, 4, 2, 4], settings: video.settings }),
  );
  return video;
}

describe("--enhance", () => {
  it("rewrites the prompt, shows both and keeps them beside the video; the key is told nowhere", async () => {
    await using server = await chatServer({ models: { data: [{ id: "writer" }] }, model: "writer", answer: () => "A red circle moves." });
    const run = await cogwheel(
      ["--model", model, "--seed", "7", PROMPT, "--enhance", server.url, "--frames", "1", "--steps", "1", "--out", "enhanced.png"],
      { COGWHEEL_API_KEY: "k-secret" },
    );
    expect(run.code, run.err).toBe(0);
    expect(run.err).toContain(`Prompt: ${PROMPT}\nRewritten by writer: A red circle moves.\n`);
    expect(server.asked[0]!.headers.authorization).toBe("Bearer k-secret");
    const kept = readFileSync(join(folder, "enhanced.prompt.json"), "utf8");
    expect(JSON.parse(kept)).toMatchObject({ prompt: "A red circle moves.", from: PROMPT, enhanced: true, model: "writer", seed: 7 });
    expect(run.out + run.err + kept).not.toContain("k-secret");
    const gone = await generate([PROMPT, "--enhance", "http://ann:pw@127.0.0.1:1/v1", "--enhance-model", "m", "--plan", "--json"]);
    expect(gone.code, gone.err).toBe(0);
    expect(gone.err).toMatch(/\[enhance\] the prompt is used as it was written: .*127\.0\.0\.1:1\/v1 m must answer/);
    expect(JSON.parse(gone.out)).toMatchObject({ enhanced: { prompt: PROMPT, enhanced: false } });
    expect(gone.out + gone.err).not.toMatch(/ann|pw/);
  });
});

describe("what is said", () => {
  const small = [PROMPT, "--frames", "1", "--steps", "1", "--out", "said.png"];
  const stages = ["load text encoder", "encode prompt", "load transformer", "denoise", "load decoder", "decode", "write"];

  it("is the path alone, on standard output, and by --quiet and --progress none no progress besides", async () => {
    const quiet = await generate([...small, "--quiet"]);
    expect([quiet.code, quiet.out, quiet.err]).toEqual([0, `${join(folder, "said.png")}\n`, ""]);
    const none = await generate([...small, "--progress", "none"]);
    expect([none.code, none.out]).toEqual([0, quiet.out]);
    for (const stage of stages) expect(none.err).not.toContain(stage);
  });

  it("is an object a line by --progress json, each stage to its end", async () => {
    const { code, out, err } = await generate([...small, "--no-cache", "--progress", "json"]);
    expect([code, out]).toEqual([0, `${join(folder, "said.png")}\n`]);
    const told = lines(err).map((line) => JSON.parse(line) as { stage?: string; done?: number; seconds?: number });
    expect(told.filter(({ seconds }) => seconds !== undefined).map(({ stage, done }) => [stage, done])).toEqual(
      stages.map((stage) => [stage, 1]),
    );
  });

  it("is the plan by --dry-run, which makes nothing and refuses what a run would", async () => {
    const before = files();
    const { code, out } = await generate([PROMPT, "--frames", "1", "--steps", "1", "--out", "new/dry.png", "--dry-run"]);
    expect(code).toBe(0);
    for (const stage of ["text encoder", "transformer", "decoder"]) expect(out).toMatch(new RegExp(`^${stage} .* GFLOP$`, "m"));
    expect(files()).toEqual(before);
    const refused = await generate([PROMPT, "--frames", "1", "--out", "dry.avi", "--dry-run"]);
    expect([refused.code, refused.out]).toEqual([2, ""]);
  });
});

describe("generate from files", () => {
  it("a video, several samples: the first frames are taken and fitted, files are numbered", async () => {
    const { encodeVideo } = await import("../../src/video/encode.ts");
    writeFileSync(
      join(folder, "in.gif"),
      await encodeVideo(
        Array.from({ length: 20 }, (_, t) => tinyFrame(t, 50, 40)),
        { format: "gif", fps: 8 },
      ),
    );
    const { code, out, err } = await generate([PROMPT, "--video", "in.gif", "--strength", "0.5", "--samples", "2", "--out", "from.mp4"]);
    expect(code, err).toBe(0);
    expect(err).toContain("9 frames at 8 a second, 4 ddim steps, guidance 3, seed 7, 2 samples, from in.gif\n");
    expect(err).toMatch(/^encode frames/m);
    expect(lines(out)).toEqual([join(folder, "from-1.mp4"), join(folder, "from-2.mp4")]);
    const [one, two] = [await decodeVideo(join(folder, "from-1.mp4")), await decodeVideo(join(folder, "from-2.mp4"))];
    expect([one.frames.length, two.frames.length]).toEqual([9, 9]);
    expect(Buffer.from(one.frames[4]!.data).equals(Buffer.from(two.frames[4]!.data))).toBe(false);
  });

  it.for<[keyof typeof TINY_TASKS, string[], string]>([
    ["image", ["--image", "one.png", "--scheduler", "dpm", "--dynamic-guidance"], "one.png"],
    ["image 1.5", ["--image", "in.gif", "--fit", "pad", "--negative", "a square"], "in.gif"],
    ["control", ["--control", "in.gif", "--samples", "2", "--lora", "turn.safetensors:0.5"], "in.gif"],
    ["inpaint", ["--video", "in.gif", "--mask", "one.png"], "in.gif"],
    ["inpaint", ["--image", "one.png"], "one.png"],
  ])("%s: the latents of the library's own run", { timeout: 240_000 }, async ([task, args, from]) => {
    const { encodeVideo } = await import("../../src/video/encode.ts");
    const all = Array.from({ length: 20 }, (_, t) => tinyFrame(t, 50, 40));
    writeFileSync(join(folder, "in.gif"), await encodeVideo(all, { format: "gif", fps: 8 }));
    writeFileSync(join(folder, "one.png"), await encodeVideo(all.slice(0, 1), { format: "png", fps: 8 }));
    const low = (seed: number) => ({ dtype: "F32" as const, data: Float32Array.from({ length: 128 }, (_, i) => Math.sin(seed + i) / 4) });
    const turn = "transformer.transformer_blocks.0.attn1.to_q.lora";
    writeFileSync(
      join(folder, "turn.safetensors"),
      writeSafetensors({ [`${turn}_A.weight`]: { ...low(1), shape: [4, 32] }, [`${turn}_B.weight`]: { ...low(2), shape: [32, 4] } }),
    );
    const path = await tinyTask(task);
    const { code, err } = await cogwheel([
      "--model",
      path,
      "--seed",
      "7",
      "--dtype",
      "f32",
      ...args,
      "--save-latents",
      "made.safetensors",
      "--out",
      "made/",
      PROMPT,
    ]);
    expect(code, err).toBe(0);
    expect(err).toContain(`, from ${from}\n`);
    const value = (name: string) => (args.includes(name) ? args[args.indexOf(name) + 1]! : undefined);
    const read = async (name: string) => (value(name) === undefined ? undefined : (await decodeVideo(join(folder, value(name)!))).frames);
    const [image, video, control, mask] = [await read("--image"), await read("--video"), await read("--control"), await read("--mask")];
    await using opened = await CogVideoX.open(path, { gpu: await testGpu(), dtype: "f32" });
    const want = await opened.generate({
      prompt: PROMPT,
      seed: 7,
      ...(image ? { image: image[0]! } : {}),
      ...(video ? { video } : {}),
      ...(control ? { control } : {}),
      ...(mask ? { mask } : {}),
      ...(args.includes("dpm") ? { scheduler: "dpm", dynamicGuidance: true } : {}),
      ...(args.includes("pad") ? { fit: "pad", negative: "a square" } : {}),
      ...(args.includes("--lora") ? { samples: 2, loras: [{ adapter: join(folder, "turn.safetensors"), scale: 0.5 }] } : {}),
    });
    const { state } = await readLatents(readFileSync(join(folder, "made.safetensors")), "made");
    expect(relativeL2(state.latents, want.state.latents)).toBeLessThan(1e-6);
  });

  it.for<[string, string[], RegExp, number]>([
    [
      "an image for a text checkpoint",
      ["--image", "in.gif"],
      /^\[generate\] this checkpoint makes videos from text, with a video to begin from if you like, got image; /m,
      2,
    ],
    ["a video that is none", ["--video", "prompt.txt"], /^\[video\] prompt\.txt/m, 1],
    ["a file that is not there", ["--video", "nowhere.mp4"], /nowhere\.mp4/, 1],
    [
      "an adapter of another model",
      ["--lora", "other.safetensors:0.5"],
      /^\[lora\] other\.safetensors: an adapter must change weights of this model, got transformer\.blocks\.0\.lora_A\.weight/m,
      3,
    ],
    [
      "strength without a video",
      ["--strength", "0.5"],
      /^\[generate\] strength goes with a video to begin from, got strength 0\.5 without one; leave it out/m,
      2,
    ],
  ])("refuses %s", async ([, args, message, exit]) => {
    writeFileSync(join(folder, "prompt.txt"), `${PROMPT}\n`);
    writeFileSync(
      join(folder, "other.safetensors"),
      writeSafetensors({ "transformer.blocks.0.lora_A.weight": { dtype: "F32", shape: [1, 4], data: new Float32Array(4) } }),
    );
    const { code, err } = await generate([PROMPT, ...args]);
    expect(code).toBe(exit);
    expect(err).toMatch(message);
  });
});

describe("generate", () => {
  it("makes a video, says what it does, and prints the path last", async () => {
    writeFileSync(join(folder, "prompt.txt"), `${PROMPT}\n`);
    const before = files();
    const { code, out, err } = await generate([
      "--prompt-file",
      "prompt.txt",
      "--out",
      "deep/er/video.mp4",
      "--frames",
      "9",
      "--save-latents",
      "deep/final.safetensors",
      "--profile",
      "trace.json",
    ]);
    const stages = lines(err).filter((line) => /^(load|encode|denoise|decode|write) ?.* (\d[\d.]* s|\d+ min .*)$/.test(line));
    expect(`${stages.join("\n")}\n`, "stages, each once").toMatch(
      /^(load text encoder|encode prompt|load transformer|denoise|load decoder|decode|write)( +\S.*\n(?!\1)(load text encoder|encode prompt|load transformer|denoise|load decoder|decode|write))* +\S.*\n$/,
    );
    expect(lines(err).filter((line) => /^write /.test(line)).length).toBe(1);
    expect(code).toBe(0);
    expect(out, "the path and nothing else").toBe(`${join(folder, "deep/er/video.mp4")}\n`);
    expect(err).toMatch(/^.+, f(32|16)$/m);
    expect(err).toContain("32×16, 9 frames at 8 a second, 4 ddim steps, guidance 3, seed 7\n");
    expect(err).toMatch(/^in all +[\d.]+ s$/m);
    expect(err).toMatch(/^kernel +chosen +runs +ms +share/m);
    // eslint-disable-next-line no-control-regex
    expect(out + err, "no control codes where nobody looks").not.toMatch(/[\x00-\x09\x0b-\x1f\x7f]/);
    expect(files().filter((f) => !before.includes(f))).toEqual([
      "deep",
      "deep/er",
      "deep/er/video.mp4",
      "deep/final.safetensors",
      "trace.json",
    ]);

    const video = await decodeVideo(join(folder, "deep/er/video.mp4"));
    expect(video.frames.length).toBe(9);
    expect(video.frames[0]).toMatchObject({ width: 32, height: 16 });
    expect(JSON.parse(readFileSync(join(folder, "trace.json"), "utf8")).traceEvents.length).toBeGreaterThan(50);
    const saved = await readLatents(readFileSync(join(folder, "deep/final.safetensors")), "saved");
    expect(saved).toMatchObject({ state: { step: 4 }, shape: [1, 3, 4, 2, 4], settings: { prompt: PROMPT, seed: 7, frames: 9 } });
    expect(saved.state.latents).toEqual((await finished("check.safetensors", 9)).state.latents);
  });

  it.for([
    ["video.webm", 9],
    ["video.gif", 9],
    ["frames/", 8],
    ["picture.png", 1],
  ] as const)("decodes finished latents to %s", async ([name, frames]) => {
    const want = await finished("done.safetensors", frames);
    const before = files();
    const { code, out, err } = await cogwheel(["--model", model, "--latents", "done.safetensors", "--out", name]);
    expect(code, err).toBe(0);
    const path = lines(out).at(-1)!;
    expect(path).toBe(resolve(folder, name));
    expect(err).not.toMatch(/denoise/);
    const got = await decodeVideo(path);
    expect(got.frames.length).toBe(frames);
    if (/png$|\/$/.test(name))
      for (const [i, frame] of got.frames.entries())
        expect(Buffer.from(frame.data).filter((_, j) => frame.data.length / 512 === 3 || j % 4 !== 3)).toEqual(
          Buffer.from(want.frames[i]!.data).filter((_, j) => j % 4 !== 3),
        );
    expect(files().filter((f) => !before.includes(f) && !/^frames(\/|$)/.test(f))).toEqual(name === "frames/" ? [] : [name]);
  });

  it("--again makes a result from what it says it was made with; what is given besides counts", async () => {
    const first = await generate([PROMPT, "--frames", "1", "--steps", "2", "--negative", "no", "--out", "first.png"]);
    expect(first.code, first.err).toBe(0);
    const again = await cogwheel(["--model", model, "--again", "first.png", "--out", "again.png"]);
    expect(again.code, again.err).toBe(0);
    expect(readFileSync(join(folder, "again.png"))).toEqual(readFileSync(join(folder, "first.png")));
    expect(again.err).not.toMatch(/other weights/);
    // One value of one weight of another training.
    const trained = join(folder, "trained");
    await cp(model, trained, { recursive: true });
    const weights = join(trained, "vae", readdirSync(join(trained, "vae")).find((name) => name.endsWith(".safetensors"))!);
    const bytes = readFileSync(weights);
    bytes[bytes.length - 2]! ^= 8;
    writeFileSync(weights, bytes);
    const retrained = await cogwheel(["--model", trained, "--again", "first.png", "--json", "--out", "retrained.png"]);
    const made = (JSON.parse(retrained.out) as { weights: string }).weights;
    const rule = `first\\.png was made with other weights \\([0-9a-f]{16}, here ${made}\\): the video will differ; give the model`;
    expect([retrained.code, retrained.err]).toEqual([0, expect.stringMatching(rule)]);
    const other = await cogwheel([
      "a blue square",
      "--model",
      model,
      "--again",
      "first.png",
      "--seed",
      "8",
      "--no-metadata",
      "--out",
      "o.png",
    ]);
    expect(other.err).toMatch(/2 ddim steps, .*seed 8\n/);
    const said = await cogwheel(["--model", model, "--again", "o.png"]);
    expect([said.code, said.err]).toEqual([
      2,
      expect.stringMatching(/--again takes a video or a picture .* got o\.png, which says nothing/),
    ]);
    const task = await cogwheel(["--model", model, "--again", "first.png", "--video", "first.png"]);
    expect([task.code, task.err]).toEqual([2, expect.stringMatching(/first\.png was made from a prompt alone, got a video/)]);
  });

  it("stops within seconds of Ctrl-C, with code 130, keeps the latents and writes no video", async () => {
    const before = files();
    let sent = 0;
    const { code, out, err, seconds } = await generate(
      [PROMPT, "--steps", "1000", "--frames", "1", "--scheduler", "dpm", "--out", "stopped.png"],
      (text, child) => {
        if (sent === 0 && /load transformer +\d/.test(text)) {
          sent = performance.now();
          setTimeout(() => child.kill("SIGINT"), 100);
        }
      },
    );
    const [, step, path] = /Kept the latents after step (\d+) of 1000; go on with: --latents (.+)\n/.exec(err) ?? [];
    expect(err).toContain("Stopping; once more stops at once.");
    expect(code).toBe(130);
    expect(out).not.toContain("stopped.png");
    expect(seconds).toBeLessThan(60);
    expect(performance.now() - sent, "milliseconds from the signal to the end").toBeLessThan(8000);
    expect(path).toBe(join(folder, "stopped.latents.safetensors"));
    expect(files().filter((f) => !before.includes(f))).toEqual(["stopped.latents.safetensors"]);
    const saved = await readLatents(readFileSync(path!), "saved");
    expect(saved.state.step).toBe(Number(step));
    expect(saved.state.original?.length).toBe(32);
    expect(saved.settings).toMatchObject({ prompt: PROMPT, seed: 7, frames: 1, steps: 1000, scheduler: "dpm", height: 16, width: 32 });

    // What is kept is what an uninterrupted run has there.
    await using opened = await CogVideoX.open(model, { gpu: await testGpu(), dtype: "f32" });
    const stop = new AbortController();
    const states = new Map<number, Float32Array>();
    await opened
      .generate({
        prompt: PROMPT,
        seed: 7,
        frames: 1,
        steps: 1000,
        scheduler: "dpm",
        signal: stop.signal,
        onStep: (state) => {
          states.set(state.step, state.latents);
          if (state.step === saved.state.step) stop.abort();
        },
      })
      .catch(() => undefined);
    expect(saved.state.latents).toEqual(states.get(saved.state.step));
  });
});

describe("going on from latents of a step", () => {
  const options = {
    prompt: PROMPT,
    negative: "a square",
    seed: 7,
    frames: 1,
    scheduler: "dpm",
    dynamicGuidance: true,
    samples: 2,
  } as const;

  it("takes up what the run was told, to the latents of the whole run", async () => {
    await using opened = await CogVideoX.open(model, { gpu: await testGpu(), dtype: "f32" });
    const whole = await opened.generate({
      ...options,
      onStep: (state, steps) => {
        if (state.step !== 2) return;
        const settings = { ...options, steps, width: 32, height: 16, task: "text" as const };
        writeFileSync(join(folder, "half.safetensors"), writeLatents({ state, shape: [2, 1, 4, 2, 4], settings }));
      },
    });
    const { code, out, err } = await cogwheel([
      ...["--model", model, "--dtype", "f32", "--latents", "half.safetensors", "--save-latents", "whole.safetensors", "--out", "on.png"],
    ]);
    expect(code, err).toBe(0);
    expect(err).toContain("32×16, 1 frame, 4 dpm steps, guidance 3, seed 7, 2 samples\n");
    expect(lines(out)).toEqual([join(folder, "on-1.png"), join(folder, "on-2.png")]);
    const { state, settings } = await readLatents(readFileSync(join(folder, "whole.safetensors")), "whole");
    expect(relativeL2(state.latents, whole.state.latents)).toBeLessThan(1e-6);
    expect(settings).toMatchObject({ ...options, steps: 4, task: "text" });
  });

  it.for<[string[], RegExp]>([
    [["--steps", "5"], /holds latents after step 2 of 4 with dpm, which only that schedule goes on from, got --steps 5; leave it out/],
    [["--scheduler", "ddim"], /which only that schedule goes on from, got --scheduler ddim; leave it out/],
    [["--samples", "1"], /which only that schedule goes on from, got --samples 1; leave it out/],
    [["--lora", "turn.safetensors"], /holds latents of a run with no adapters, got turn\.safetensors:1; give the same --lora/],
  ])("refuses %j", async ([args, message]) => {
    const { code, err } = await cogwheel(["--model", model, "--latents", "half.safetensors", ...args]);
    expect(code).toBe(2);
    expect(err).toMatch(message);
  });
});

describe("bad input ends with a code of its kind, one clear line, and nothing left behind", () => {
  const cases: [string, string[], RegExp, number?][] = [
    ["an unknown option", ["--setps", "3", "x"], /^error: unknown option '--setps'/],
    ["a size that is none", ["x", "--size", "32"], /option '--size <WxH>' argument '32' is invalid\. It must be WIDTHxHEIGHT/],
    ["a size that does not fit", ["x", "--size", "33x16"], /^\[generate\] height and width must be multiples of 16, got width 33; /],
    [
      "frames that cannot be made",
      ["x", "--frames", "10"],
      /^\[generate\] this model makes 8·k or 8·k \+ 1 frames, got 10; the nearest are 8, 9, 16, 17$/,
    ],
    ["a number that is none", ["x", "--steps", "many"], /argument 'many' is invalid\. It must be a number/],
    ["a scheduler that is none", ["x", "--scheduler", "euler"], /argument 'euler' is invalid\. Allowed choices are ddim, dpm/],
    ["no prompt", [], /^\[generate\] a prompt must say what to show, got nothing; /],
    ["an empty prompt file", ["--prompt-file", "empty.txt"], /^\[generate\] a prompt must say what to show, got nothing; /],
    [
      "a prompt file that is not there",
      ["--prompt-file", "gone.txt"],
      /^\[input\] gone\.txt must be a readable file, got ENOENT: no such file; /,
      1,
    ],
    ["two prompts", ["x", "--prompt-file", "empty.txt"], /^\[generate\] a prompt is given as words or with --prompt-file, got both; /],
    ["an output below a file", ["x", "--out", "empty.txt/video.mp4"], /^\[output\] .* must be in a folder, got the file /, 1],
    ["an output of an unknown kind", ["x", "--out", "video.avi"], /^\[output\] the output must end in \.mp4, \.webm, \.gif or \.png/],
    ["many frames in one picture", ["x", "--frames", "9", "--out", "x.png"], /^\[output\] a \.png holds one picture, got 9 frames/, 1],
    ["latents below a file", ["x", "--save-latents", "empty.txt/l.safetensors"], /^\[output\] .* must be in a folder, got the file /, 1],
    ["a trace below a file", ["x", "--profile", "empty.txt/t.json"], /^\[output\] .* must be in a folder, got the file /, 1],
    [
      "latents that are none",
      ["x", "--latents", "empty.txt"],
      /^\[checkpoint\] latents: must be a safetensors file, got an empty file; /,
      3,
    ],
    [
      "latents of another size",
      ["x", "--latents", "other.safetensors", "--size", "64x64"],
      /^\[generate\] other\.safetensors must hold latents \[1, F, 4, 8, 8\] for this model and size, got \[1, 1, 4, 2, 4\]; /,
    ],
    [
      "latents of other frames",
      ["x", "--latents", "other.safetensors", "--frames", "9"],
      /^\[denoise\] latents must be \[1, 3, 4, 2, 4\] = 96 values for this size and these frames, got 32; /,
    ],
    [
      "a model that is none",
      ["x", "--model", "."],
      /^\[checkpoint\] model_index\.json: a checkpoint must be in diffusers' folder layout/,
      3,
    ],
    [
      "an adapter that is none",
      ["x", "--adapter", "Voodoo2"],
      /^\[adapter\] --adapter must be gpu, lavapipe, swiftshader or part of an adapter's name, got "Voodoo2", and this machine has: .+; choose one of these/,
      5,
    ],
  ];
  it.for(cases)("%s", async ([, args, rule, exit = 2]) => {
    writeFileSync(join(folder, "empty.txt"), "");
    writeFileSync(
      join(folder, "other.safetensors"),
      writeLatents({ state: { step: 1, latents: new Float32Array(32) }, shape: [1, 1, 4, 2, 4], settings: {} }),
    );
    const before = files();
    const { code, err } = await generate(args);
    expect(err.replace(/^Warning: .*\n/gm, "").trimEnd()).toMatch(rule);
    expect(err, "no stack").not.toMatch(/^ +at /m);
    expect(code).toBe(exit);
    expect(err, "nothing was begun").not.toMatch(/^(load|encode|denoise|decode)/m);
    expect(files()).toEqual(before);
  });
});

it("no command made the default folder", () => {
  expect(existsSync(join(folder, "outputs"))).toBe(false);
});
