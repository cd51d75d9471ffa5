/** CONFIG.json and the flags over it: read, checked, and made what the run needs. */
import { dirname, isAbsolute, join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { parseJsonObject } from "../../base/json-scan.ts";
import { bytesOfText } from "../../base/units.ts";
import { defined } from "../../pipelines/options.ts";
import type { TrainOptions } from "../../training/options.ts";
import { type PriorOptions, priorOf } from "../../training/prior/options.ts";
import { readInput } from "../files.ts";
import { checkKeys, flagName, type KeyTable, TRAIN_TABLE, type TrainKeyName } from "./keys.ts";
import { type StageConfig, stageConfigs, stageOptions } from "./stages.ts";

export interface TrainConfig {
  readonly model?: string;
  readonly transformer?: string;
  readonly vae?: string;
  readonly data: string;
  readonly out: string;
  readonly cache?: string;
  readonly adapter?: string;
  readonly variant?: string;
  readonly dtype?: "f32" | "f16";
  /** Bytes of the adapter. */
  readonly memory?: number;
  readonly imageNoises?: number;
  /** One where the run has no stages. */
  readonly stages: readonly StageConfig[];
  /** Of all stages. */
  readonly steps: number;
  readonly seed: number;
  readonly full: boolean;
  readonly ema?: number;
  readonly nullText: "zeros" | "empty";
  readonly checkpointEvery: number;
  /** Folder of clips that show what the model is to keep. */
  readonly prior?: string;
  /** File of prompts that the model makes them of. */
  readonly priorPrompts?: string;
  readonly heldOut?: string;
  readonly heldOutEvery: number;
  /** Folder of another run. */
  readonly beside?: string;
  readonly sampleEvery: number;
  readonly samplePrompts?: readonly string[];
  readonly sampleSteps?: number;
  /** What `train` takes of it, without data. */
  readonly options: TrainOptions;
  /** How prior clips are kept, where there are some. */
  readonly keeping?: Omit<PriorOptions, "data">;
}

const DILOCO_KEYS = ["replicas", "outerLr", "outerMomentum", "exchange", "innerState"] as const;

/** Of a file of settings. */
const MOST_BYTES = 2 ** 20;

/** @param file CONFIG.json, if there is one @param flags values of the command line by key, which win */
export const readConfig = async (file: string | undefined, flags: Readonly<Record<string, unknown>>): Promise<TrainConfig> =>
  configOf(await readKeys(file, flags, TRAIN_TABLE));

/** What a file and the flags over it say, checked one by one. */
export async function readKeys(
  file: string | undefined,
  flags: Readonly<Record<string, unknown>>,
  table: KeyTable,
): Promise<Record<string, unknown>> {
  const told = file === undefined ? {} : await readFileOf(file);
  checkKeys(told, file ?? "", table);
  checkKeys(flags, "the command line", table);
  const paths = Object.entries(told).map(([name, value]) => {
    const { kind } = table.keys[name]!;
    if (kind === "path") return [name, fromFile(file!, name, value as string)];
    return [name, kind === "paths" ? [value].flat().map((path) => fromFile(file!, name, path as string)) : value];
  });
  return { ...(Object.fromEntries(paths) as object), ...flags };
}

async function readFileOf(file: string): Promise<Record<string, unknown>> {
  const text = new TextDecoder().decode(await readInput(file, { limit: MOST_BYTES })).replace(/^\uFEFF/, "");
  return parseJsonObject(
    text,
    (rule, cause) => new CogwheelError("train", `${file} ${rule}; correct it`, cause === undefined ? {} : { cause }),
  );
}

/** A config's paths are told from where it lies; a model may also be an address or a repository. */
function fromFile(file: string, name: string, path: string): string {
  if (isAbsolute(path) || /^\w+:\/\//.test(path) || (name === "model" && !/^\.{1,2}(?:[\\/]|$)/.test(path)) || path === "memory")
    return path;
  return join(dirname(file), path);
}

/** Checks what belongs together. */
export function configOf(given: Readonly<Record<string, unknown>>): TrainConfig {
  const fail = (rule: string): never => {
    throw new CogwheelError("train", rule);
  };
  const has = (name: TrainKeyName): boolean => given[name] !== undefined;
  for (const name of ["data", "out"] as const)
    if (!has(name)) fail(`${name} must be given, got none; name a folder with ${flagName(name)}, or in the config`);
  const contradiction = (names: readonly TrainKeyName[], holds: boolean, because: string): void => {
    const both = names.filter(has);
    if (holds && both.length) fail(`${because}, got ${both.join(" and ")} with it; leave ${both.length > 1 ? "them" : "it"} out`);
  };
  contradiction(["rank", "alpha", "targets"], given["full"] === true, "full trains the model's own weights, which have no adapter");
  if (given["scratch"] === true && given["full"] !== true)
    fail("an adapter learns beside the checkpoint's own weights, got scratch without full; set full too, or leave scratch out");
  contradiction(["steps"], has("stages"), "a run in stages has their steps");
  contradiction(["heldOutEvery"], !has("heldOut"), "the loss on held-out clips is told where heldOut names some");
  contradiction(["beside"], !has("heldOut"), "runs are compared by their loss on held-out clips: heldOut");
  contradiction(["momentum"], given["optimizer"] !== "muon", "momentum is of muon, and the optimizer is adamw");
  contradiction(["floor"], (given["schedule"] ?? "constant") === "constant", "a constant schedule does not fall");
  contradiction(
    ["samplePrompts", "sampleSteps"],
    !(Number(given["sampleEvery"] ?? 0) > 0),
    "validation clips are made with sampleEvery above 0",
  );
  contradiction(
    ["priorPrompts", "priorShare", "priorWeight", "priorTarget"],
    !has("prior"),
    "they are of clips in a folder that prior names",
  );
  contradiction(["prior"], given["scratch"] === true, "drawn weights know nothing that could be kept");
  if (has("prior")) priorOf(keepingOf(given));
  contradiction(DILOCO_KEYS, !has("diloco"), "replicas train apart with diloco, the steps of a round");
  contradiction(["ema"], has("diloco"), "an average is kept of steps that follow on each other, and those of diloco's replicas do not");
  if (given["outerLr"] === 0) fail("outerLr must be a number above 0, got 0; 0.7 is usual");
  if (given["outerMomentum"] === 1) fail("outerMomentum must be below 1, got 1; 0.9 is usual");
  if (given["ema"] === 1) fail("ema must be below 1, got 1; 0.9999 is usual");
  const stages = stageConfigs(given);
  const warmup = Number(given["warmup"] ?? 0);
  for (const { name, steps } of stages)
    if (warmup >= steps)
      fail(
        `${name && `${name}: `}the warm-up must be shorter than the ${name ? "stage" : "run"}, got ${warmup} of ${steps} steps; shorten it`,
      );
  const seed = (given["seed"] as number | undefined) ?? 0;
  const pick = (...names: TrainKeyName[]): Record<string, unknown> => defined(Object.fromEntries(names.map((name) => [name, given[name]])));
  const options = {
    ...(has("stages") ? { stages: stages.map(stageOptions) } : stageOptions(stages[0]!)),
    seed,
    ...(given["full"] === true ? { full: true } : { lora: pick("rank", "alpha", "targets") }),
    ...(has("diloco") ? { diloco: { steps: given["diloco"], ...pick(...DILOCO_KEYS) } } : {}),
    ...pick("scratch", "accumulation", "timesteps", "timestepRange", "textDropout", "conditionDropout", "checkpointing", "dtype"),
    ...updatesOf(given),
  } as TrainOptions;
  return {
    ...(pick(
      "model",
      "transformer",
      "vae",
      "data",
      "out",
      "cache",
      "adapter",
      "variant",
      "dtype",
      "imageNoises",
      "ema",
      "prior",
      "priorPrompts",
      "heldOut",
      "beside",
      "samplePrompts",
      "sampleSteps",
    ) as unknown as Pick<TrainConfig, "data" | "out">),
    ...(given["memory"] === undefined ? {} : { memory: bytesOf(given["memory"]) }),
    stages,
    steps: stages.reduce((sum, { steps }) => sum + steps, 0),
    seed,
    full: given["full"] === true,
    nullText: (given["nullText"] as "zeros" | "empty" | undefined) ?? "zeros",
    checkpointEvery: (given["checkpointEvery"] as number | undefined) ?? 100,
    heldOutEvery: (given["heldOutEvery"] as number | undefined) ?? 100,
    sampleEvery: (given["sampleEvery"] as number | undefined) ?? 0,
    options,
    ...(has("prior") ? { keeping: keepingOf(given) } : {}),
  };
}

const keepingOf = ({ priorShare: share, priorWeight: weight, priorTarget: target }: Readonly<Record<string, unknown>>) =>
  defined({ share, weight, target }) as Omit<PriorOptions, "data">;

/** How parameters are updated, whatever they are of: what `train` and `trainVae` take of those keys. */
export function updatesOf(given: Readonly<Record<string, unknown>>): Pick<TrainOptions, "optimizer" | "schedule" | "maxGradNorm" | "ema"> {
  const { optimizer: name, bits, lr, betas, eps, weightDecay, momentum, schedule, warmup: warmupSteps, floor, maxGradNorm, ema } = given;
  return {
    optimizer: defined({ lr, betas, eps, weightDecay, momentum, name, bits: bits === undefined ? undefined : Number(bits) }),
    schedule: defined({ name: schedule, warmupSteps, floor }),
    ...(maxGradNorm === undefined ? {} : { maxGradNorm: Number(maxGradNorm) || Infinity }),
    ...(ema === undefined ? {} : { ema: { decay: ema as number } }),
  } as Pick<TrainOptions, "optimizer" | "schedule" | "maxGradNorm" | "ema">;
}

const bytesOf = (value: unknown): number => (typeof value === "number" ? value : bytesOfText(String(value))!);
