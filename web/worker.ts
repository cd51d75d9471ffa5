/** Everything heavy: the model, the GPU, files. One job at a time; `cancel` stops those that it names. */
import {
  clearPrompts,
  CogVideoX,
  CogwheelError,
  decodeVideo,
  encodeVideo,
  enhance,
  filesSource,
  GenerationInterrupted,
  Gpu,
  listPrompts,
  openSource,
  removeStoredCheckpoint,
  storeCheckpoint,
  storedCheckpoint,
  storedCheckpoints,
  type CheckpointSource,
  type DenoiseState,
  type EnhancedPrompt,
  type GenerateOptions,
  type MeasuredRates,
  type RgbaFrame,
  type StageMemory,
  type Video,
} from "../src/index.ts";
import { ofTask } from "../src/pipelines/options/table.ts";
import { together } from "../src/pipelines/requirements.ts";
import { checkFrames, taskFrom, type Task } from "../src/pipelines/task.ts";
import { embeddedSource } from "./embedded.ts";
import { forgetVideos, keepVideo, keptVideos, recall } from "./kept-worker.ts";
import { keepRates, keptRates, planOf, ratesOf } from "./plan-worker.ts";
import type {
  EnhanceRequest,
  FromWorker,
  GenerateRequest,
  KeptPrompts,
  Made,
  ModelChoice,
  ModelFacts,
  Role,
  Say,
  Taught,
  ToWorker,
  TrainRequest,
} from "./protocol.ts";
import type { RunningTraining } from "./train-worker.ts";
import { bytesText } from "../src/base/units.ts";

/** The embedded checkpoint lies beside the page, wherever that is. */
const EMBEDDED = new URL("models/moving-shapes/", self.location.href).href;
const embedded = embeddedSource(EMBEDDED);
/** Parts stay on the GPU between videos where all of them together take no more. */
const KEPT_BYTES = 1e9;

const state: {
  gpu: Promise<Gpu> | undefined;
  open: { key: string; choice: ModelChoice; model: CogVideoX } | undefined;
  /** By what they were measured for. */
  rates: Map<string, MeasuredRates>;
  interrupted: { key: string; state: DenoiseState; seed: number } | undefined;
  /** The last one, and its name where it is kept. */
  video: Video | undefined;
  videoId: string | null;
  /** What stays of the model that is open. */
  kept: Disposable | undefined;
  /** Of the model that is open. */
  training: RunningTraining | undefined;
  controller: AbortController;
} = {
  gpu: undefined,
  open: undefined,
  rates: new Map(),
  interrupted: undefined,
  video: undefined,
  videoId: null,
  kept: undefined,
  training: undefined,
  controller: new AbortController(),
};

// For the console, and for tests that take the device away.
Object.assign(self, { cogwheel: state });

/** The device for benchmark and validation; a model opens its own, which it can open again when it is lost. */
async function device(): Promise<Gpu> {
  const found = await state.gpu?.catch(() => undefined);
  if (found && !found.lost) return found;
  state.gpu = Gpu.open();
  return await state.gpu;
}

const keyOf = (choice: ModelChoice): string =>
  JSON.stringify(choice, (_, value: unknown) => {
    if (value instanceof File) return [value.name, value.size, value.lastModified];
    return value instanceof Map ? [...value] : value;
  });

/** Rates hold for a model as it was opened, in the type and with the kernels that it runs. */
const ratesKey = (choice: ModelChoice, model: CogVideoX): string => `${model.probeKey} ${keyOf(choice)}`;

async function knownRates(choice: ModelChoice, model: CogVideoX): Promise<MeasuredRates | undefined> {
  const key = ratesKey(choice, model);
  const known = state.rates.get(key) ?? (await keptRates(model, key));
  if (known) state.rates.set(key, known);
  return known;
}

async function sourceOf(choice: ModelChoice, say: Say): Promise<string | CheckpointSource> {
  switch (choice.kind) {
    case "embedded":
      return embedded;
    case "folder":
      return filesSource(choice.files, choice.name);
    case "stored": {
      const found = await storedCheckpoint(choice.name);
      if (!found)
        throw new CogwheelError("checkpoint", `${choice.name} must be stored in this browser, got none of that name; open it from its URL`);
      return found;
    }
    case "url": {
      const name = choice.url.replace(/\/+$/, "");
      if (!choice.store) return name;
      const { signal } = state.controller;
      try {
        await using from = await openSource(name);
        return await storeCheckpoint(from, name, {
          signal,
          onProgress: (done, total, file) =>
            say({
              type: "progress",
              stage: "store the model",
              done: total ? done / total : 1,
              detail: `${file}, ${bytesText(done)} of ${bytesText(total)}`,
              memory: 0,
            }),
        });
      } catch (error) {
        // A copy that is whole opens without the network, as it was when it was stored.
        const kept = signal.aborted ? null : await storedCheckpoint(name).catch(() => null);
        if (!kept) throw error;
        say({ type: "warning", message: `${(error as Error).message}. The copy that is kept in this browser is used.` });
        return kept;
      }
    }
  }
}

async function modelOf(choice: ModelChoice, say: Say): Promise<CogVideoX> {
  const key = keyOf(choice);
  if (state.open?.key === key && !state.open.model.gpu.lost) return state.open.model;
  await endTraining();
  await state.open?.model[Symbol.asyncDispose]();
  state.open = undefined;
  const model = await CogVideoX.open(await sourceOf(choice, say), { ...choice.parts, ...(choice.dtype ? { dtype: choice.dtype } : {}) });
  state.open = { key, choice, model };
  return model;
}

/** What is small stays on the GPU for the next video; what is not goes with its own. */
function keepIfSmall(model: CogVideoX, stages: readonly StageMemory[], { loras }: GenerateOptions): void {
  if (together(stages).peak <= KEPT_BYTES)
    state.kept = model.keepAwhile(loras ? ["text_encoder", "vae"] : ["text_encoder", "transformer", "vae"]);
  else state.kept?.[Symbol.dispose]();
}

/** Frees what the run of the open model has on its device. */
async function endTraining(): Promise<void> {
  const ended = state.training;
  state.training = undefined;
  await ended?.run[Symbol.asyncDispose]();
}

async function taught(request: TrainRequest, resume: boolean, say: Say): Promise<Taught> {
  const model = await modelOf(request.model, say);
  const { signal } = state.controller;
  const { beginTraining, goOn } = await import("./train-worker.ts");
  if (!resume) {
    await endTraining();
    state.training = await beginTraining(model, request, signal, say);
  }
  if (!state.training)
    throw new CogwheelError("training", "there must be a run to go on with, got none: another model was opened since; begin anew");
  try {
    return await goOn(state.training, model, signal, say);
  } catch (error) {
    await endTraining();
    throw error;
  }
}

/** What a file can be used as; the first where nobody chooses. */
const ROLES: Record<CogVideoX["rules"]["takes"], readonly [Role, ...Role[]]> = {
  text: ["video"],
  image: ["image"],
  control: ["control"],
  "image or control": ["image", "control"],
  inpaint: ["video", "image"],
};

/** Far beyond what any of them was trained at. */
const MOST_FRAMES = 1025;

/** The lengths that a model can make, in frames. */
function lengthsOf({ rules }: CogVideoX, task: Task): number[] {
  return Array.from({ length: MOST_FRAMES }, (_, i) => i + 1).filter((frames) => {
    try {
      checkFrames(frames, task, rules);
      return true;
    } catch {
      return false;
    }
  });
}

const factsOf = (model: CogVideoX): ModelFacts => ({
  label: model.checkpoint.source.label,
  defaults: model.defaults,
  role: ROLES[model.rules.takes][0],
  roles: ROLES[model.rules.takes],
  takes: model.rules.takes,
  lengths: {
    alone: lengthsOf(model, model.rules.takes === "text" ? "text" : taskFrom(ROLES[model.rules.takes][0], model.rules)),
    withFile: lengthsOf(model, taskFrom(ROLES[model.rules.takes][0], model.rules)),
  },
  dtype: model.dtype,
});

async function generate(request: GenerateRequest, say: Say): Promise<Made> {
  const model = await modelOf(request.model, say);
  const key = keyOf(request.model);
  const { signal } = state.controller;
  const { input } = request;
  const warn = (message: string): void => say({ type: "warning", message });
  const task = taskFrom(input?.role, model.rules);
  const options: GenerateOptions = { ...(ofTask(request.options, task) as GenerateOptions), preview: true, signal };
  const before = state.interrupted;
  if (request.resume && before?.key === key) Object.assign(options, { start: before.state, seed: before.seed });
  if (input && !(options.start && "step" in options.start && options.start.step > 0)) {
    const frames = await framesOf(input.file, input.role === "image" ? 1 : (options.frames ?? model.defaults.frames), warn);
    Object.assign(options, { [input.role]: input.role === "image" ? frames[0] : frames });
  }
  if (request.adapter) {
    const { file, scale } = request.adapter;
    options.loras = [{ adapter: new Uint8Array(await file.arrayBuffer()), scale }];
  }
  const prepared = await model.prepare({
    ...options,
    onProgress: (stage, done, detail = "", whole) =>
      say({ type: "progress", stage, done, detail, memory: model.gpu.memory.allocated, ...(whole ? { whole } : {}) }),
    onWarning: warn,
  });
  for (const warning of prepared.warnings) warn(warning);
  keepIfSmall(model, prepared.requirements, options);
  // What was refused takes nothing away of what can be gone on with.
  state.interrupted = undefined;
  state.video = undefined;
  try {
    const run = model.generate(prepared);
    for await (const step of run) {
      const preview = step.preview();
      say(
        { type: "step", step: step.step, steps: step.steps, seconds: step.seconds, secondsLeft: step.secondsLeft, preview },
        preview.map(({ data }) => data.buffer as ArrayBuffer),
      );
    }
    const video = await run;
    state.video = video;
    state.videoId = null;
    const frames = video.frames.map(({ width, height, data }) => ({ width, height, data: data.slice() }));
    const [{ settings, seconds }, peakBytes] = [video, model.gpu.memory.peak];
    const of = { settings, seconds: seconds as Record<string, number>, peakBytes };
    const kept = await keepVideo({ ...of, ...recordOf(request, settings, frames) }, frames, video.made).catch((error: Error) => {
      warn(`This video is not kept in this browser: ${error.message}. Save it before the page is closed.`);
      return null;
    });
    state.videoId = kept?.id ?? null;
    return { frames, ...of, kept };
  } catch (error) {
    if (error instanceof GenerationInterrupted) state.interrupted = { key, state: error.state, seed: prepared.seed };
    throw error;
  }
}

/** What brings a video's settings back. */
function recordOf({ form, model, input, adapter }: GenerateRequest, { seed }: Made["settings"], frames: readonly RgbaFrame[]) {
  const { width, height } = frames[0]!;
  const files = [input?.file, adapter?.file, ...Object.values(model.parts ?? {})].flatMap((file) => (file ? [file.name] : []));
  const folder = model.kind === "folder" ? model.name : null;
  return { width, height, count: frames.length, form: { ...form, seed: String(seed) }, files, folder };
}

/** A video to be written as a file: the last one, or one that is kept. */
async function videoOf(id: string | null): Promise<Pick<Video, "frames" | "made"> & { settings: { fps: number } }> {
  if (id !== null && id !== state.videoId) {
    const { kept, frames, made } = await recall(id);
    return { frames, settings: kept.settings, made: made as Video["made"] };
  }
  if (!state.video) throw new CogwheelError("video", "there must be a video to save, got none; make one first");
  return state.video;
}

/** The prompt in the words that models were trained on, by whichever server the user names. */
async function rewritten({ prompt, image, url, served, key, ...of }: EnhanceRequest, say: Say): Promise<EnhancedPrompt> {
  const model = await modelOf(of.model, say);
  const onWarning = (message: string): void => say({ type: "warning", message });
  return await enhance(prompt, {
    url,
    ...(served ? { model: served } : {}),
    ...(key ? { key } : {}),
    ...(image ? { image: (await framesOf(image, 1, onWarning))[0]! } : {}),
    checkpoint: model.checkpoint.source,
    maxTokens: model.configs.transformer.max_text_seq_length,
    tries: 2,
    signal: state.controller.signal,
  });
}

/** Pictures that the package reads itself, and so in the same way as in Node. */
const READ = /^image\/(gif|jpeg|png|webp)$/;

/** A video, or any picture that the browser knows, as frames. */
async function framesOf(file: File, most: number, onWarning: (message: string) => void): Promise<RgbaFrame[]> {
  if (file.type.startsWith("image/") && !READ.test(file.type)) {
    const bitmap = await createImageBitmap(file).catch((error: unknown) => {
      throw new CogwheelError("video", `${file.name} must be a picture that this browser can read, got ${(error as Error).message}`);
    });
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d")!;
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return [{ width, height, data: new Uint8Array(context.getImageData(0, 0, width, height).data.buffer) }];
  }
  const { frames } = await decodeVideo(new Uint8Array(await file.arrayBuffer()), {
    maxFrames: most,
    signal: state.controller.signal,
    onWarning,
  });
  return frames as RgbaFrame[];
}

async function answer(message: ToWorker, say: Say): Promise<unknown> {
  switch (message.type) {
    case "adapter": {
      const gpu = await device();
      return { name: gpu.name, kind: gpu.caps.kind, f16: gpu.caps.f16, advice: gpu.advice };
    }
    case "open":
      return factsOf(await modelOf(message.model, say));
    case "plan": {
      const model = await modelOf(message.model, say);
      const stages = model.requirements(message.options);
      const { memoryBytes } = message.options;
      if (memoryBytes !== undefined && stages.some(({ peak }) => peak > memoryBytes))
        throw new CogwheelError(
          "generate",
          `this generation must fit the GPU memory that you give it, got ${bytesText(memoryBytes, 1)}; ` +
            `the smallest that would do is ${bytesText(Math.ceil(model.leastMemoryBytes(message.options) / 1e5) * 1e5, 1)}`,
        );
      return planOf(model, message.options, await knownRates(message.model, model));
    }
    case "times": {
      const model = await modelOf(message.model, say);
      const known = await knownRates(message.model, model);
      const rates = known ?? (await ratesOf(model, state.controller.signal, say));
      const key = ratesKey(message.model, model);
      state.rates.set(key, rates);
      if (!known) await keepRates(model, key, rates);
      return planOf(model, message.options, rates);
    }
    case "generate":
      return await generate(message.request, say);
    case "enhance":
      return await rewritten(message.request, say);
    case "train":
      return await taught(message.request, message.resume, say);
    case "draw-clips": {
      const { drawClips } = await import("./train-worker.ts");
      return await drawClips(await (await fetch(new URL("attributes.json", EMBEDDED))).json(), message.request);
    }
    case "encode": {
      const { frames, settings, made } = await videoOf(message.video);
      return new Blob([await encodeVideo(frames, { format: message.format, fps: settings.fps, made })], {
        type: message.format === "gif" ? "image/gif" : `video/${message.format}`,
      });
    }
    case "identify": {
      const { identify } = await import("./dropped-worker.ts");
      return await identify(message.file);
    }
    case "list-videos":
      return await keptVideos();
    case "recall": {
      const { kept, frames } = await recall(message.video);
      const { settings, seconds, peakBytes } = kept;
      return { frames, settings, seconds, peakBytes, kept } satisfies Made;
    }
    case "forget-videos":
      return await forgetVideos(message.ids);
    case "list-models": {
      const { offeredModels } = await import("./models-worker.ts");
      return offeredModels();
    }
    case "look": {
      const { lookAt } = await import("./models-worker.ts");
      return await lookAt(message.url.replace(/\/+$/, ""));
    }
    case "list-stored":
      return await storedCheckpoints();
    case "remove-stored": {
      const open = state.open?.choice;
      if (state.open && open?.kind === "stored" && open.name === message.name) {
        await endTraining();
        await state.open.model[Symbol.asyncDispose]();
        state.open = undefined;
      }
      return await removeStoredCheckpoint(message.name);
    }
    case "list-prompts": {
      const prompts = (await listPrompts())?.prompts ?? [];
      return { count: prompts.length, bytes: prompts.reduce((sum, { bytes }) => sum + bytes, 0) } satisfies KeptPrompts;
    }
    case "forget-prompts": {
      const { clearEnhanced } = await import("../src/curation/enhance/kept.ts");
      await clearEnhanced();
      return await clearPrompts();
    }
    case "validate": {
      const { runCases, toRun } = await import("./validate-worker.ts");
      return await runCases(await device(), message.files.map(toRun), (row) => say({ type: "row", row }), state.controller.signal);
    }
    case "check": {
      const { comingCases, runCases } = await import("./validate-worker.ts");
      const gpu = await device();
      const { signal } = state.controller;
      return await runCases(gpu, await comingCases(self.location.href, gpu, signal), (row) => say({ type: "row", row }), signal);
    }
    case "benchmark": {
      const { runBenchmark } = await import("./benchmark-worker.ts");
      return await runBenchmark(await device(), (row) => say({ type: "row", row }), state.controller.signal);
    }
    case "cancel":
      return undefined;
  }
}

/** What needs neither the model nor the GPU does not wait for them. */
const AT_ONCE: ReadonlySet<ToWorker["type"]> = new Set([
  "encode",
  "identify",
  "list-models",
  "look",
  "list-videos",
  "recall",
  "forget-videos",
]);

let last: Promise<unknown> = Promise.resolve();
/** Of a request that was stopped while it waited. */
const NOT_BEGUN = new Error("stopped");
/** Of each request that waits or runs. */
const controllers = new Map<number, AbortController>();
self.onmessage = ({ data }: MessageEvent<ToWorker & { id: number }>) => {
  const { id, ...message } = data;
  if (message.type === "cancel") {
    for (const asked of message.ids) controllers.get(asked)?.abort(new Error("stopped"));
    self.postMessage({ id, type: "answer", value: undefined } satisfies FromWorker);
    return;
  }
  const say: Say = (news, transfer = []) => self.postMessage({ id, ...news }, { transfer });
  const respond = async (signal?: AbortSignal): Promise<void> => {
    try {
      if (signal?.aborted) throw NOT_BEGUN;
      self.postMessage({ id, type: "answer", value: await answer(message as ToWorker, say) } satisfies FromWorker);
    } catch (error) {
      self.postMessage({
        id,
        type: "error",
        message: error instanceof Error ? error.message : String(error),
        // One that did not begin leaves what it would have gone on from.
        resumable: error instanceof GenerationInterrupted || (error === NOT_BEGUN && message.type === "generate" && message.request.resume),
        cancelled: signal?.aborted ?? false,
      } satisfies FromWorker);
    }
  };
  if (AT_ONCE.has(message.type)) return void respond();
  const controller = new AbortController();
  controllers.set(id, controller);
  last = last.then(async () => {
    state.controller = controller;
    await respond(controller.signal);
    controllers.delete(id);
  });
};
