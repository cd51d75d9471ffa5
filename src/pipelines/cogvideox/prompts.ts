/**
 * Several prompts in one call: the text encoder is loaded once for all of them, and the transformer and the decoder stay between videos
 * where both have room. Each video has the bytes that a call of its own would give.
 */
import { availableMemoryBytes } from "#platform";
import { CogwheelError } from "../../base/errors.ts";
import { checkOptions, type GenerateOptions } from "../options.ts";
import type { OverallProgress } from "../overall.ts";
import { together } from "../requirements.ts";
import type { Video } from "../video.ts";
import { runOf } from "./generate.ts";
import type { Model } from "./model.ts";
import { encodePrompt } from "./prompt.ts";
import type { GenerationRequest } from "./request.ts";

/** `generate` for several prompts: all other options are those of each video. */
export interface PromptsOptions extends Omit<GenerateOptions, "prompt" | (typeof NOT_FOR_SEVERAL)[number]> {
  /** What to show, a video each. */
  prompts: readonly string[];
}

/** What belongs to one video. */
const NOT_FOR_SEVERAL = ["start", "share", "onStep", "onFrames"] as const;

const MOST_PROMPTS = 10_000;
/** Encoded before their videos are made: a prompt of T5-XXL takes some megabytes of the host's memory until then. */
const GROUP = 32;
/** Parts stay where they take no more of an adapter of which nobody knows how much memory it has. */
const SMALL = 2e9;

/** The options of each video. */
function optionsOfEach({ prompts, ...options }: PromptsOptions): GenerateOptions[] {
  const fail = (rule: string): never => {
    throw new CogwheelError("generate", rule);
  };
  if (prompts.length > MOST_PROMPTS) fail(`prompts must be a list of 1 to ${MOST_PROMPTS} texts, got ${prompts.length}; cut it up`);
  const wrong = NOT_FOR_SEVERAL.find((name) => (options as Record<string, unknown>)[name] !== undefined);
  if (wrong) fail(`prompts make several videos, got ${wrong} too, which is of one; leave it out, or call generate for each prompt`);
  return prompts.map((prompt) => {
    const one = { ...options, prompt };
    checkOptions(one);
    return one;
  });
}

/** What the model does for them. */
export interface Each {
  readonly model: Model;
  readonly signal: AbortSignal;
  readonly options: PromptsOptions;
  prepare(options: GenerateOptions): Promise<GenerationRequest>;
  /** Denoises and decodes; a device that is lost, or memory that runs out, is dealt with. */
  run(request: GenerationRequest, text: Float32Array): Promise<Video>;
}

/** Makes them all, in order. All are checked before anything is loaded. */
export async function generateEach(
  { model, signal, options, prepare, run }: Each,
  emit: (video: Video) => void,
): Promise<readonly Video[]> {
  const each = optionsOfEach(options);
  const count = each.length;
  const progress = new SeveralProgress(count, options.onProgress);
  const requests: GenerationRequest[] = [];
  for (const [i, one] of each.entries()) {
    signal.throwIfAborted();
    requests.push(await prepare({ ...one, ...progress.of(i) }));
  }
  for (const warning of new Set(requests.flatMap(({ warnings }) => warnings))) options.onWarning?.(warning);
  const videos: Video[] = [];
  for (let first = 0; first < count; first += GROUP) {
    const group = requests.slice(first, first + GROUP);
    const texts: Float32Array[] = [];
    {
      using _encoder = model.parts.keepAwhile(["text_encoder"]);
      for (const request of group) texts.push(await encodePrompt(runOf(request, { ...request.options, signal })));
    }
    using _both = model.parts.keepAwhile(haveRoom(model, group[0]!) ? ["transformer", "vae"] : []);
    for (const [i, request] of group.entries()) {
      progress.begin();
      const video = await run(request, texts[i]!);
      texts[i] = new Float32Array();
      progress.end();
      videos.push(video);
      emit(video);
    }
  }
  return videos;
}

/** Do the transformer and the decoder have room beside each other? */
function haveRoom({ gpu }: Model, { requirements, plan: { limit } }: GenerationRequest): boolean {
  const { peak } = together(requirements.filter(({ stage }) => stage === "transformer" || stage === "decoder"));
  return peak <= (limit ?? (gpu.caps.kind === "software" ? (availableMemoryBytes() ?? 0) / 2 : SMALL));
}

/** Progress of all videos, told from that of each. */
class SeveralProgress {
  #made = 0;
  #began = 0;
  /** Seconds of the videos that were made, together. */
  #seconds = 0;

  constructor(
    private readonly count: number,
    private readonly onProgress: GenerateOptions["onProgress"],
  ) {}

  begin(): void {
    this.#began = performance.now();
  }

  end(): void {
    this.#made++;
    this.#seconds += (performance.now() - this.#began) / 1000;
  }

  /** The callback of the video of this index. */
  of(index: number): Pick<GenerateOptions, "onProgress"> {
    const { onProgress, count } = this;
    if (!onProgress) return {};
    return {
      onProgress: (stage, done, detail, one) => {
        const words = `video ${index + 1} of ${count}${detail ? `, ${detail}` : ""}`;
        onProgress(stage, done, words, { ...this.#all(index, one), video: index + 1, videos: count });
      },
    };
  }

  #all(index: number, one: OverallProgress | undefined): OverallProgress {
    // Prompts that are encoded ahead of their videos take nothing of the whole.
    if (!one) return { overall: this.#made / this.count };
    const { overall, secondsLeft } = one;
    const others = this.count - index - 1;
    const whole = this.#made > 0 ? this.#seconds / this.#made : (performance.now() - this.#began) / 1000 + (secondsLeft ?? 0);
    return {
      overall: (index + overall) / this.count,
      ...(secondsLeft === undefined ? {} : { secondsLeft: secondsLeft + others * whole }),
    };
  }
}
