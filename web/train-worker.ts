/** Training in the page's worker: clips that were picked or drawn, the run, and samples on the way. */
import {
  clipSamples,
  CogwheelError,
  encodeVideo,
  prepareClips,
  train,
  type ClipFolder,
  type CogVideoX,
  type RgbaFrame,
  type Training,
} from "../src/index.ts";
import type { World } from "../src/check/clip-attributes.ts";
import { captionOf, drawClip, MOTIONS, SHAPES } from "../src/check/moving-shapes.ts";
import { drawsOf } from "../src/training/draws.ts";
import type { Captioned, DrawRequest, Say, Taught, TrainRequest } from "./protocol.ts";

/** A run that goes on when it is asked to. */
export interface RunningTraining {
  readonly run: Training;
  readonly request: TrainRequest;
  step: number;
}

const SEED = 0;

/** Clips of one size and one rate a second, as the model's own advice has them. */
export async function beginTraining(model: CogVideoX, request: TrainRequest, signal: AbortSignal, say: Say): Promise<RunningTraining> {
  const { clips, steps, rank, rate } = request;
  const { width, height, frames, fps } = model.defaults;
  const prepared = await prepareClips(model, folderOf(clips), {
    sizes: { resolution: { width, height }, frames, fps },
    cache: "memory",
    signal,
    onProgress: (stage, done, detail = "") => say({ type: "progress", stage, done, detail, memory: model.gpu.memory.allocated }),
    onWarning: (message) => say({ type: "warning", message }),
  });
  const run = train(model, clipSamples(model, prepared, { seed: SEED }), {
    steps,
    seed: SEED,
    lora: { rank },
    optimizer: { lr: rate },
    schedule: { name: "constant", warmupSteps: Math.min(10, Math.floor(steps / 10)) },
  });
  return { run, request, step: 0 };
}

/** Takes steps until the last one, or until it is stopped, which is between two steps; then gives what was learned. */
export async function goOn(training: RunningTraining, model: CogVideoX, signal: AbortSignal, say: Say): Promise<Taught> {
  const { run, request } = training;
  const { steps, sampleEvery, samplePrompt } = request;
  say({ type: "progress", stage: training.step ? "train" : "compile kernels, and take the first step", done: 0, detail: "", memory: 0 });
  if (!signal.aborted)
    for await (const { step, loss, seconds, skipped } of run) {
      training.step = step;
      say({ type: "learned", step, steps, loss, seconds });
      if (skipped) say({ type: "warning", message: `The gradients of step ${step} were not finite: nothing was changed.` });
      if (sampleEvery > 0 && (step % sampleEvery === 0 || step === steps) && !signal.aborted) {
        const frames = await sampleOf(model, await run.adapter(), samplePrompt, signal);
        if (frames)
          say(
            { type: "sample", step, frames },
            frames.map(({ data }) => data.buffer as ArrayBuffer),
          );
      }
      if (signal.aborted) break;
    }
  return { adapter: new Blob([await run.adapter()]), step: training.step, steps };
}

/** What the adapter makes of a prompt; undefined where it is stopped. */
async function sampleOf(model: CogVideoX, adapter: Uint8Array, prompt: string, signal: AbortSignal): Promise<RgbaFrame[] | undefined> {
  try {
    const { frames } = await model.generate({ prompt, seed: SEED, loras: [{ adapter }], signal });
    return frames.map(({ width, height, data }) => ({ width, height, data: data.slice() }));
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

/** What the page gives, as a folder of clips. Files of one name are told apart by their place. */
function folderOf(clips: readonly Captioned[]): ClipFolder {
  if (clips.length === 0) throw new CogwheelError("data", "an adapter learns from clips, got none; pick some, or draw some");
  const silent = clips.filter(({ caption }) => caption.trim() === "");
  if (silent.length)
    throw new CogwheelError(
      "data",
      `every clip must have a caption, got none for ${silent.length} of ${clips.length}, such as ${silent[0]!.file.name}; ` +
        "say what it shows",
    );
  const named = new Map(clips.map((clip, i) => [`${i + 1}. ${clip.file.name}`, clip]));
  return {
    label: "the clips of this page",
    rows: [...named].map(([file, { caption }]) => ({ file, caption, columns: {} })),
    warnings: [],
    read: async (file) => new Uint8Array(await named.get(file)!.file.arrayBuffer()),
  };
}

/** Clips of moving shapes with captions, of the embedded model's size. @param world what can be drawn, by name */
export async function drawClips(world: World, { shape, motion, count, from }: DrawRequest): Promise<Captioned[]> {
  const drawn: Captioned[] = [];
  for (let i = from; i < from + count; i++) {
    const draws = drawsOf(SEED, "drawn clip", i);
    const one = (of: readonly string[]): string => of[draws.below(of.length)]!;
    const combination = {
      colour: one(Object.keys(world.colours)),
      shape: shape || one(SHAPES),
      motion: motion || one(MOTIONS),
      background: one(Object.keys(world.backgrounds)),
    };
    const frames = drawClip(combination, world, { frames: 17, width: 64, height: 64, random: () => draws.uniform() });
    const bytes = await encodeVideo(frames, { format: "gif", fps: 8 });
    drawn.push({ file: new File([bytes], `drawn ${i + 1}.gif`, { type: "image/gif" }), caption: captionOf(combination) });
  }
  return drawn;
}
