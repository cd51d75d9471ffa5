/** Encodes clips and captions for trainings that are elsewhere: it has the encoders, and is given files and texts. */
import { CogwheelError } from "../base/errors.ts";
import { encodeClip, encodeText } from "../data/encode.ts";
import type { ClipTask } from "../data/prepared.ts";
import { type ReadClip, readPixels } from "../data/read.ts";
import type { StoredTensors } from "../data/store.ts";
import type { OpenModel } from "../jobs/other-work.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { Encoders } from "../pipelines/cogvideox/encoders.ts";
import { type EncodeAsk, type EncodeOutcome, type EncoderNeeds, needsOf, outcomeBytes, stageOfTask } from "./encoded.ts";
import type { TaskDoing, TaskDoer } from "./work.ts";

/** What is loaded. */
interface Loaded {
  readonly model: CogVideoX;
  readonly stage: "decode" | "text";
  readonly encoders: Encoders;
}

export class EncodeDoer implements TaskDoer<EncodeAsk> {
  readonly kind = "encode";
  /** One adapter does one thing at a time. */
  readonly atOnce = 1;
  /** What each model has, by the encoder. */
  readonly #has = new WeakMap<CogVideoX, Map<string, Promise<EncoderNeeds>>>();
  #loaded: Loaded | undefined;

  async whyNot({ needs, task }: EncodeAsk, open: readonly OpenModel[]): Promise<string | undefined> {
    const found = await this.#find({ needs, task }, open);
    return typeof found === "string" ? found : undefined;
  }

  /** The model that has what a task needs, or why none has. */
  async #find({ needs, task }: EncodeAsk, open: readonly OpenModel[]): Promise<CogVideoX | string> {
    const all = await Promise.all(
      open.map(async ({ served, model }) => ({ served, model, has: await this.#needsOf(served, model, task) })),
    );
    const same = all.filter(({ has }) => has.weights === needs.weights);
    const found = same.find(({ has }) => has.dtype === needs.dtype && has.adapter === needs.adapter);
    if (found) return found.model;
    const [first] = same;
    const encoder = task.kind === "clip" ? "VAE" : "text encoder";
    if (!first)
      return all.some(({ served }) => served.name === needs.model)
        ? `its ${needs.model} has another ${encoder} than this worker's`
        : `this worker has no ${needs.model}; start it with --model`;
    return first.has.dtype === needs.dtype
      ? `its results are those of ${needs.adapterName}, and this worker has ${first.has.adapterName}`
      : `it computes in ${needs.dtype}, and this worker in ${first.has.dtype}; start it with --dtype ${needs.dtype}`;
  }

  #needsOf({ name, stored }: OpenModel["served"], model: CogVideoX, task: EncodeAsk["task"]): Promise<EncoderNeeds> {
    const stage = stageOfTask(task);
    const known = this.#has.get(model) ?? new Map<string, Promise<EncoderNeeds>>();
    this.#has.set(model, known);
    const there = known.get(stage);
    if (there) return there;
    const made = needsOf(name, model, stage, stored);
    known.set(stage, made);
    // What could not be read is tried anew.
    made.catch(() => known.delete(stage));
    return made;
  }

  async do(ask: EncodeAsk, { input, open, signal, makeRoom }: TaskDoing): Promise<Uint8Array<ArrayBuffer>> {
    const model = await this.#find(ask, open);
    if (typeof model === "string") throw new CogwheelError("tasks", model);
    const { task } = ask;
    const stage = stageOfTask(task);
    makeRoom();
    if (this.#loaded?.model !== model || this.#loaded.stage !== stage) {
      await this.#release();
      this.#loaded = { model, stage, encoders: await model.encoders() };
    }
    const { encoders } = this.#loaded;
    if (task.kind === "clip") return outcomeBytes(await this.#clip(encoders, task, input, signal));
    if (encoders.textLength !== task.tokens)
      throw new CogwheelError(
        "tasks",
        `a text must have the model's ${encoders.textLength} tokens, got ${task.tokens}; serve the same model`,
      );
    return outcomeBytes(await encodeText(encoders, task, { signal }));
  }

  async #clip(encoders: Encoders, task: ClipTask, input: Uint8Array<ArrayBuffer> | undefined, signal: AbortSignal): Promise<EncodeOutcome> {
    if (!input) throw new CogwheelError("tasks", `a clip's file must come with it, got none of ${task.file}`);
    let clip: ReadClip;
    try {
      clip = await readPixels({ read: async () => input }, task, { ...task, signal });
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof CogwheelError) || error.room !== "video") throw error;
      return { broken: error.message.replace(/^\[video\] /, "") };
    }
    const results = new Map<string, StoredTensors>();
    for await (const [key, tensors] of encodeClip(encoders, task, clip, { signal })) results.set(key, tensors);
    return { results };
  }

  async #release(): Promise<void> {
    const { encoders } = this.#loaded ?? {};
    this.#loaded = undefined;
    await encoders?.release();
  }

  release(): void {
    void this.#release();
  }
}
