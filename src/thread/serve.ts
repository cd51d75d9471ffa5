/** The model's thread: one model, which does what an app in another thread asks of it. Nothing of the engine is loaded before that. */
import { CogwheelError } from "../base/errors.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { PromptsOptions } from "../pipelines/cogvideox/prompts.ts";
import type { RequirementOptions } from "../pipelines/cogvideox/sizes.ts";
import type { GenerateOptions, OpenOptions } from "../pipelines/options.ts";
import type { Video } from "../pipelines/video.ts";
import type { measureRates, RatesOptions } from "../tuning/rates.ts";
import type { RgbaFrame } from "../video/frame.ts";
import type { CheckpointSource } from "../sources/source.ts";
import { Channel, Transferred } from "./channel.ts";
import {
  AWAITED,
  type ModelFacts,
  type OpeningModel,
  type Port,
  type SentOptions,
  type SentSource,
  type SentStep,
  type SentVideo,
} from "./protocol.ts";

/** What of the package is asked for, when a model is opened. */
export interface Engine {
  readonly CogVideoX: typeof CogVideoX;
  readonly measureRates: typeof measureRates;
}

/** Answers what comes through `port`. Resolves, when called, once nothing is under way on the device: for the end of the process. */
export function serve(port: Port, load: () => Promise<Engine>): () => Promise<void> {
  let model: CogVideoX | undefined;
  let opening: Promise<CogVideoX> | undefined;
  let engine: Engine;
  const opened = (): CogVideoX => {
    if (model) return model;
    throw new CogwheelError("worker", "a model must be opened first, got a call before; open it");
  };
  const channel = new Channel(
    port,
    {
      async called(name, args, signal) {
        switch (name) {
          case "open": {
            const { from, page, options } = args[0] as OpeningModel;
            if (page !== undefined) Object.assign(globalThis, { cogwheelPage: page });
            engine = await load();
            const { hub, ...rest } = received<OpenOptions>(options);
            const source = typeof from === "object" ? sourceOf(from) : from;
            opening = engine.CogVideoX.open(source, { ...rest, ...(hub ? { hub: { ...hub, signal } } : {}) });
            return factsOf((model = await opening));
          }
          case "generate": {
            const [options] = args as [SentOptions];
            return await generate(opened(), options, signal);
          }
          case "encodePrompt":
            return await opened().encodePrompt({ ...received<GenerateOptions>(args[0] as SentOptions), signal });
          case "measureRates":
            return await engine.measureRates(opened(), { ...received<RatesOptions>(args[0] as SentOptions), signal });
          case "requirements":
            return opened().requirements(received<RequirementOptions>(args[0] as SentOptions));
          case "promptAdvice":
            return opened().promptAdvice(args[0] as string);
          case "release":
            return opened().release();
          case "close":
            return await model?.close();
          default:
            throw new CogwheelError(
              "worker",
              `must be asked for what it does, got ${name}; take both ends from one version of the package`,
            );
        }
      },
      told() {
        // The app tells nothing that is not answered.
      },
    },
    true,
  );

  /** Options with callbacks that call the app back. */
  function received<T extends object>({ task, data, callbacks }: SentOptions): T {
    const options: Record<string, unknown> = { ...data };
    const hub = options["hub"] as Record<string, unknown> | undefined;
    for (const name of callbacks) {
      const [inner, into] = name.startsWith("hub.") ? [name.slice(4), hub!] : [name, options];
      into[inner] = AWAITED.has(name)
        ? (...args: unknown[]) => channel.call("callback", [task, name, args])
        : (...args: unknown[]) => channel.tell("callback", [task, name, args]);
    }
    return options as T;
  }

  async function generate(model: CogVideoX, sent: SentOptions, signal: AbortSignal): Promise<unknown> {
    const options = { ...received<GenerateOptions>(sent), signal };
    if ("prompts" in options) {
      for await (const video of model.generate(options as unknown as PromptsOptions)) {
        const { value, buffers } = transferred(video);
        channel.tell("video", [sent.task, value], buffers);
      }
      return undefined;
    }
    const run = model.generate(options);
    const samples = Number.isInteger(options.samples) ? options.samples! : 1;
    for await (const step of run) {
      const { step: done, steps, state, seconds, secondsLeft } = step;
      const previews = options.preview ? Array.from({ length: samples }, (_, sample) => step.preview(sample)) : [];
      const told: SentStep = { step: done, steps, state, seconds, secondsLeft, previews };
      // The state stays here too, for it is what a run that is stopped goes on from.
      channel.tell("step", [sent.task, told], buffersOf(previews.flat()));
    }
    return transferred(await run);
  }

  const sourceOf = ({ task, label, versions, prefetches, pieceBytes }: SentSource): CheckpointSource => {
    const ask = <T>(method: string, args: readonly unknown[] = [], signal?: AbortSignal): Promise<T> =>
      channel.call("source", [task, method, args], signal);
    return {
      label,
      list: () => ask("list"),
      exists: (path) => ask("exists", [path]),
      size: (path) => ask("size", [path]),
      ...(versions ? { version: (path) => ask<string | null>("version", [path]) } : {}),
      read: (path, start, end, _, signal) => ask("read", [path, start, end], signal),
      ...(prefetches
        ? {
            // Lasts until the signal.
            prefetch: (ranges, signal) => void ask("prefetch", [ranges], signal).catch(() => undefined),
          }
        : {}),
      ...(pieceBytes === undefined ? {} : { pieceBytes }),
      [Symbol.asyncDispose]: () => ask("dispose"),
    };
  };

  return async () => {
    const opened = await opening?.catch(() => undefined);
    await opened?.close();
    await opened?.gpu.pipelines.settled();
  };
}

const factsOf = ({ configs, rules, defaults, dtype, gpu, checkpoint }: CogVideoX): ModelFacts => ({
  ...{ configs, rules, defaults, dtype },
  label: checkpoint.source.label,
  adapter: gpu.name,
});

/** Frames may be views of one buffer. */
const buffersOf = (frames: readonly RgbaFrame[]): ArrayBuffer[] => [...new Set(frames.map(({ data }) => data.buffer as ArrayBuffer))];

/** A video as it is sent: its frames are not copied, and are no longer here. */
function transferred({ samples, settings, state, seconds, made }: Video): Transferred<SentVideo> {
  return new Transferred({ samples, settings, state, seconds, made }, buffersOf(samples.flat()));
}
