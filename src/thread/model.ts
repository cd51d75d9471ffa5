/** `CogVideoX` of `cogwheel-webgpu/worker`: the same calls, of a model that is in a thread of its own. */
import { startThread } from "#thread";
import { CogwheelError } from "../base/errors.ts";
import { givenSource } from "../hub/open-options.ts";
import type { MeasuredRates } from "../gpu/rates.ts";
import type { Configs } from "../pipelines/cogvideox/components.ts";
import type { PromptsOptions } from "../pipelines/cogvideox/prompts.ts";
import type { RequirementOptions } from "../pipelines/cogvideox/sizes.ts";
import { generation, type Generation, type Generations, type GenerationStep } from "../pipelines/generation.ts";
import type { GenerateOptions, OpenOptions } from "../pipelines/options.ts";
import type { StageMemory } from "../pipelines/requirements.ts";
import type { ModelRules, Settings } from "../pipelines/settings.ts";
import { Turns } from "../pipelines/turns.ts";
import { Video } from "../pipelines/video.ts";
import type { RatesOptions } from "../tuning/rates.ts";
import type { CheckpointSource, FileRange } from "../sources/source.ts";
import { Channel, refusedOption } from "./channel.ts";
import { ownOptions, type OwnOptions } from "./options.ts";
import type { ModelFacts, NOT_SENT, OpeningModel, SentSource, SentStep, SentVideo } from "./protocol.ts";
import type { Thread } from "./thread.ts";

type NotSent = (typeof NOT_SENT)[number];

/** What `open` takes beside the checkpoint: what it takes elsewhere, except for a device. */
export interface ThreadOpenOptions extends Omit<OpenOptions, NotSent> {
  /**
   * In a page: a worker of the app's own that runs `cogwheel-webgpu/worker-script`, for bundlers that do not bring the package's own along.
   * It ends with the model.
   */
  worker?: Worker;
}

/** What `generate` takes: what it takes elsewhere, except for what belongs to the thread that has the device. */
export type ThreadGenerateOptions = Omit<GenerateOptions, NotSent>;
/** The same for several prompts. */
export type ThreadPromptsOptions = Omit<PromptsOptions, NotSent>;

/** What the model's thread may call back, and is told of: a call's, by its number. */
interface Task {
  readonly callbacks: OwnOptions["callbacks"];
  readonly source?: CheckpointSource;
  step?(step: SentStep): void;
  video?(video: SentVideo): void;
  /** A callback threw, of which the model does not wait for the end. */
  readonly failed: AbortController;
}

/**
 * A CogVideoX checkpoint in a thread of its own: a worker in a page, a thread of Node's. A page stays smooth whatever the model does.
 * Frames come over without being copied, options are copied, callbacks are called here. Throws `CogwheelError`.
 */
export class ThreadModel implements AsyncDisposable {
  readonly #tasks: Map<number, Task>;
  readonly #channel: Channel;
  readonly #thread: Thread;
  /** They follow each other in the model's thread; here they end together. */
  readonly #turns = new Turns("generate", "a model");
  #closed: Promise<void> | undefined;

  private constructor(
    thread: Thread,
    channel: Channel,
    tasks: Map<number, Task>,
    /** The folder, URL or name that it was opened from. */
    readonly label: string,
    /** What it runs on. */
    readonly adapter: string,
    /** Storage type of weights and activations. */
    readonly dtype: "f32" | "f16",
    readonly configs: Configs,
    readonly rules: ModelRules,
    /** What `generate` does where it is not told otherwise. */
    readonly defaults: Settings,
  ) {
    [this.#thread, this.#channel, this.#tasks] = [thread, channel, tasks];
  }

  /**
   * Starts a thread and opens a checkpoint there, named as for `CogVideoX.open`; without a name it is the embedded model. A source stays
   * here and reads for it.
   */
  static async open(from?: string | URL | CheckpointSource, options: ThreadOpenOptions = {}): Promise<ThreadModel> {
    const { worker, ...rest } = options;
    const own = ownOptions(rest);
    const source = from === undefined || typeof from === "string" || from instanceof URL ? undefined : givenSource(from);
    own.signal?.throwIfAborted();
    const tasks = new Map<number, Task>();
    const thread = await startThread(worker);
    const channel = new Channel(thread.port, {
      busy: (busy) => thread.hold(busy),
      async called(name, args, signal) {
        const [number, method, given] = args as [number, string, unknown[]];
        const { callbacks, source } = tasks.get(number)!;
        if (name === "callback") return await callbacks.get(method)!(...given);
        return method === "dispose" ? await source![Symbol.asyncDispose]() : await readOf(source!, method, given, signal);
      },
      told(name, args) {
        const task = tasks.get(args[0] as number);
        if (name === "step") task?.step?.(args[1] as SentStep);
        else if (name === "video") task?.video?.(args[1] as SentVideo);
        else if (task) {
          try {
            task.callbacks.get(args[1] as string)!(...(args[2] as unknown[]));
          } catch (error) {
            task.failed.abort(error);
          }
        }
      },
    });
    thread.onDeath((got) =>
      channel.fail(
        new CogwheelError("worker", `the model's thread must live until it is closed, got its end: ${got}; open the model again`),
      ),
    );
    try {
      // Its callbacks are called as long as the model lives.
      tasks.set(0, { callbacks: own.callbacks, failed: new AbortController(), ...(source ? { source } : {}) });
      const opening: OpeningModel = {
        from: source ? sentSource(source) : from === undefined ? undefined : String(from as string | URL),
        page: globalThis.location?.href,
        options: { task: 0, ...own.sent },
      };
      const facts = await channel.call<ModelFacts>("open", [opening], own.signal);
      const { label, adapter, dtype, configs, rules, defaults } = facts;
      return new ThreadModel(thread, channel, tasks, label, adapter, dtype, configs, rules, defaults);
    } catch (error) {
      await thread.end();
      throw copied(error, rest);
    }
  }

  /**
   * A video, as by `CogVideoX.generate`: a promise of it, and an async iterable of its steps. Calls queue. Options are copied at the call;
   * the frames of the result are not copied.
   */
  generate(asked: ThreadGenerateOptions): Generation;
  generate(asked: ThreadPromptsOptions): Generations;
  generate(asked: ThreadGenerateOptions | ThreadPromptsOptions = {} as ThreadGenerateOptions): Generation | Generations {
    if ("prompts" in asked)
      return generation<Video, readonly Video[]>((emit) =>
        this.#turns.call(async () => {
          const videos: Video[] = [];
          await this.#ask("generate", asked, {
            video: (sent) => {
              videos.push(videoOf(sent));
              emit(videos.at(-1)!);
            },
          });
          return videos;
        }),
      );
    return generation<GenerationStep, Video>((emit) =>
      this.#turns.call(async () =>
        videoOf(
          await this.#ask<SentVideo>("generate", asked, {
            step: ({ previews, ...step }) => emit({ ...step, preview: (sample = 0) => [...(previews[sample] ?? [])] }),
          }),
        ),
      ),
    );
  }

  /** What the transformer reads of a prompt, as by `CogVideoX.encodePrompt`: `promptEmbeds` of generations. */
  async encodePrompt(asked: ThreadGenerateOptions): Promise<Float32Array> {
    return await this.#ask("encodePrompt", asked);
  }

  /** What each stage will take, as by `CogVideoX.requirements`. */
  async requirements(options: RequirementOptions = {}): Promise<StageMemory[]> {
    return await this.#ask("requirements", options);
  }

  /** How fast the model runs here, as by `measureRates`: `requirements` then tells seconds. */
  async measureRates(options: RatesOptions = {}): Promise<MeasuredRates> {
    return await this.#ask("measureRates", options);
  }

  /** What a small model, which knows a few words only, says of a prompt with others. */
  promptAdvice(prompt: string): Promise<string | undefined> {
    return this.#channel.call("promptAdvice", [prompt]);
  }

  /** Frees what `keep` keeps, at once or when the generation is over that is under way. */
  release(): Promise<void> {
    return this.#channel.call("release", []);
  }

  /** Ends what is under way, frees everything and ends the thread: what `await using` does at the end of its block. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    await this.#turns.end();
    // A thread that is gone has nothing to free.
    await this.#channel.call("close", []).catch(() => undefined);
    this.#channel.fail(
      new CogwheelError("generate", "a model cannot be used after dispose; open it again, and await what is under way before", {
        code: "aborted",
      }),
    );
    await this.#thread.end();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #number = 1;

  /** A call with options, which may have callbacks and a signal. */
  async #ask<T = unknown>(name: string, asked: object, hears: Pick<Task, "step" | "video"> = {}): Promise<T> {
    const own = ownOptions(asked);
    const task = this.#number++;
    const failed = new AbortController();
    const stop = (): void => failed.abort(own.signal!.reason);
    if (own.signal?.aborted) stop();
    own.signal?.addEventListener("abort", stop, { once: true });
    this.#tasks.set(task, { callbacks: own.callbacks, failed, ...hears });
    try {
      return await this.#channel.call<T>(name, [{ task, ...own.sent }], failed.signal);
    } catch (error) {
      throw copied(error, asked);
    } finally {
      own.signal?.removeEventListener("abort", stop);
      this.#tasks.delete(task);
    }
  }
}

const videoOf = ({ samples, settings, state, seconds, made }: SentVideo): Video => new Video(samples, settings, state, seconds, made);

/** Of a message that could not be copied: the option that is to blame. */
function copied(error: unknown, options: object): unknown {
  if (!(error instanceof Error) || error.name !== "DataCloneError") return error;
  for (const [name, value] of Object.entries(options)) {
    if (typeof value === "function" || value instanceof AbortSignal) continue;
    try {
      structuredClone(value);
    } catch {
      return refusedOption(name, "what cannot be copied");
    }
  }
  return error;
}

function sentSource(source: CheckpointSource): SentSource {
  const { label, pieceBytes } = source;
  return {
    task: 0,
    label,
    versions: source.version !== undefined,
    prefetches: source.prefetch !== undefined,
    ...(pieceBytes === undefined ? {} : { pieceBytes }),
  };
}

async function readOf(source: CheckpointSource, method: string, args: unknown[], signal: AbortSignal): Promise<unknown> {
  if (method === "read") return await source.read(...(args as [string, number, number]), undefined, signal);
  if (method === "prefetch") {
    source.prefetch!(...(args as [readonly FileRange[]]), signal);
    return await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  }
  if (method === "list") return await source.list();
  const [path] = args as [string];
  return method === "exists" ? await source.exists(path) : method === "size" ? await source.size(path) : await source.version!(path);
}
