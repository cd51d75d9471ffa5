/** The stages of a config: what each learns from and how, and whether the model can. */
import { CogwheelError } from "../../base/errors.ts";
import { checkSizes, type ClipSizes } from "../../data/clip-size.ts";
import type { PreparedClips } from "../../data/prepared.ts";
import type { CogVideoX } from "../../pipelines/cogvideox/pipeline.ts";
import { defined } from "../../pipelines/options.ts";
import type { PackingOptions } from "../../training/packing/packs.ts";
import { paddedFrames } from "../../training/sample.ts";
import type { StageOptions } from "../../training/stages.ts";
import { tokensOf } from "../../models/cogvideox/packed.ts";
import { STAGE_KEYS } from "./keys.ts";

/** What every command's stages have, completed by the run's keys. */
export interface StageKeys {
  /** What messages call it: `stage 2`, or nothing for a run without stages. */
  readonly name: string;
  readonly steps: number;
  readonly resolution?: string;
  readonly frames?: number;
  readonly fps?: number;
  readonly filter?: string;
  readonly batch?: number;
  /** Where the stage has one of its own. */
  readonly lr?: number;
}

/** A stage of a transformer's training. */
export interface StageConfig extends StageKeys {
  readonly pictures?: number;
  readonly budget?: number;
  readonly packClips?: number;
  readonly packWindow?: number;
  readonly packRope?: PackingOptions["rope"];
  readonly packAverage?: PackingOptions["average"];
}

type Given = Readonly<Record<string, unknown>>;

/**
 * The stages of checked keys; a run without any is one. Throws for a stage without steps.
 * @param ofStage keys that a stage may have @param completed makes a stage of what the run has and of its own keys
 */
export function stagesOfKeys<S extends StageKeys>(given: Given, ofStage: readonly string[], completed: (run: Given, own: Given) => S): S[] {
  const stages = given["stages"] as Given[] | undefined;
  const shared = ofStage.filter((key) => key !== "steps" && key !== "lr" && given[key] !== undefined);
  const run = Object.fromEntries(shared.map((key) => [key, given[key]]));
  if (!stages) return [completed(run, { steps: given["steps"] ?? 1000, name: "" })];
  return stages.map((stage, i) => {
    const name = `stage ${i + 1}`;
    if (stage["steps"] === undefined) throw new CogwheelError("train", `${name}: steps must be given, got none; add them`);
    return completed(run, { ...stage, name });
  });
}

const OF_PACKS = ["packClips", "packWindow", "packRope", "packAverage"] as const;
const PACKS = ["budget", ...OF_PACKS] as const;

/** The stages of a transformer's training; throws for keys that contradict each other too. */
export const stageConfigs = (given: Given): StageConfig[] =>
  stagesOfKeys(given, STAGE_KEYS, (run, own) => {
    // A stage chooses between batches and packs for itself.
    const dropped: readonly string[] = own["batch"] !== undefined ? PACKS : own["budget"] !== undefined ? ["batch"] : [];
    const kept = Object.fromEntries(Object.entries(run).filter(([key]) => !dropped.includes(key)));
    return checked({ ...kept, ...own } as unknown as StageConfig);
  });

function checked(stage: StageConfig): StageConfig {
  const contradiction = (names: readonly (keyof StageConfig)[], holds: boolean, because: string): void => {
    const both = names.filter((key) => stage[key] !== undefined);
    if (holds && both.length)
      throw new CogwheelError(
        "train",
        `${of(stage)}${because}, got ${both.join(" and ")} with it; leave ${both.length > 1 ? "them" : "it"} out`,
      );
  };
  contradiction(["batch"], stage.budget !== undefined, "clips are packed by a budget or in batches of one size");
  contradiction(OF_PACKS, stage.budget === undefined, "packs are made with a budget");
  return stage;
}

const of = ({ name }: StageConfig): string => (name ? `${name}: ` : "");

/** What `train` takes of a stage, its data apart. */
export function stageOptions({ steps, lr, batch, budget, packClips, packWindow, packRope, packAverage }: StageConfig): StageOptions {
  const of = defined({ clips: packClips, window: packWindow, rope: packRope, average: packAverage });
  const packing = budget === undefined ? undefined : { budget, ...of };
  return { steps, ...defined({ lr, batch, packing }) };
}

/** One size for all, or the shorter side. @param stage what messages call the stage */
export function resolutionOf(text: string, stage: string): ClipSizes["resolution"] {
  const [, width, height] = /^(\d+)(?:[x×](\d+))?$/.exec(text) ?? [];
  if (width === undefined)
    throw new CogwheelError(
      "train",
      `${stage && `${stage}: `}resolution must be WIDTHxHEIGHT or a shorter side, got ${JSON.stringify(text)}; such as 720x480`,
    );
  return height === undefined ? Number(width) : { width: Number(width), height: Number(height) };
}

/** A stage's sizes, completed by the model's; throws where the model cannot have them. */
export function sizesOf(stage: StageConfig, { defaults, rules, configs }: CogVideoX): ClipSizes {
  const { resolution, frames, fps } = stage;
  const most = frames ?? Math.floor((defaults.frames - 1) / rules.temporal) * rules.temporal + 1;
  const learned = configs.transformer.use_learned_positional_embeddings;
  const fail = (rule: string, cause?: unknown): never => {
    throw new CogwheelError("train", `${of(stage)}${rule}`, cause === undefined ? {} : { cause });
  };
  const sizes = {
    frames: most,
    fps: fps ?? defaults.fps,
    resolution: resolutionOf(resolution ?? `${defaults.width}x${defaults.height}`, stage.name),
  };
  try {
    checkSizes(sizes, rules, learned);
  } catch (error) {
    if (!stage.name || !(error instanceof CogwheelError)) throw error;
    fail(error.message.replace(/^\[\w+\] /, ""), error);
  }
  if (stage.budget !== undefined && learned)
    fail("learned positions fix a model to one size, got a budget of packs; train this model with batch");
  return sizes;
}

/** Throws where a pack's budget does not hold the largest of a stage's clips, and tells the least. */
export async function checkBudget(
  stage: StageConfig,
  { configs: { transformer: c } }: CogVideoX,
  { clips, store }: PreparedClips,
): Promise<void> {
  if (stage.budget === undefined) return;
  let largest = { tokens: 0, file: "" };
  for (const { latents, row } of clips) {
    const [, frames, height, width] = (await store.shapeOf(latents, "mean")) as [number, number, number, number];
    const { all } = tokensOf(c, { frames: paddedFrames(frames, c), height, width, text: c.max_text_seq_length });
    if (all > largest.tokens) largest = { tokens: all, file: row.file };
  }
  checkTokens(stage, largest.tokens, largest.file);
}

/** Throws where a budget does not hold so many tokens. @param what takes them */
export function checkTokens(stage: StageConfig, tokens: number, what: string): void {
  if (stage.budget === undefined || stage.budget >= tokens) return;
  throw new CogwheelError(
    "train",
    `${of(stage)}a budget must hold the largest clip, got ${stage.budget} tokens where ${what} takes ${tokens}; ` +
      `raise it to ${tokens} at least, or take fewer frames or a smaller resolution`,
  );
}
