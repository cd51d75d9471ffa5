/** What a training run can be told: every key of CONFIG.json, which is a flag of the command too. */
import { nearestName } from "../../base/near-name.ts";
import { CogwheelError } from "../../base/errors.ts";
import { isObject } from "../../base/json-scan.ts";
import { bytesOfText } from "../../base/units.ts";

type Kind =
  | "text"
  | "path"
  | "whole"
  | "number"
  | "share"
  | "flag"
  | "texts"
  | "numbers"
  | "bytes"
  | "choice"
  | "stages"
  | "paths"
  | "object"
  | "workers";

export interface TrainKey {
  readonly kind: Kind;
  readonly help: string;
  /** Of a choice. */
  readonly choices?: readonly string[];
  /** The least number. */
  readonly min?: number;
  /** What holds where it is left out, in words. */
  readonly otherwise: string;
}

export const key = (kind: Kind, help: string, otherwise: string, more: Pick<TrainKey, "choices" | "min"> = {}): TrainKey => ({
  kind,
  help,
  otherwise,
  ...more,
});

/** By name, in the order of the help. */
export const TRAIN_KEYS = {
  model: key("path", "checkpoint in diffusers' layout: a folder, a URL, or org/name[@revision] on the hub", "the embedded model"),
  transformer: key(
    "path",
    "a transformer in place of the checkpoint's: a .safetensors or .gguf file, quantized ones too",
    "the checkpoint's",
  ),
  vae: key("path", "a VAE in place of the checkpoint's: its folder, or a .safetensors file", "the checkpoint's"),
  data: key("path", "folder of clips: metadata.jsonl, or prompts.txt and videos.txt", "must be given"),
  out: key("path", "folder for checkpoints, the result, the log and the report", "must be given"),
  filter: key("text", 'which clips, by the columns of the data: "scores.motion > 0.3 && width >= 512"', "all"),
  stages: key("stages", "stages of the run, one after another, such as of a growing resolution: each with keys of its own", "one stage"),
  pictures: key("share", "share of pictures among what is learned from", "as the data has them"),
  resolution: key("text", "WIDTHxHEIGHT for all clips, or the shorter side, with each clip's own aspect", "the model's own size"),
  frames: key("whole", "the most frames of a clip, 4·k + 1", "the model's own length", { min: 1 }),
  fps: key("number", "frames a second that are taken of a clip", "the model's own rate", { min: 0 }),
  cache: key("path", "folder for encoded clips and captions", "this user's caches"),
  imageNoises: key("whole", "draws of noise that an image is encoded with, for image-to-video models", "4", { min: 1 }),
  prior: key("path", "folder of clips of what the model can already do, which it is to keep", "none"),
  priorPrompts: key(
    "path",
    "of prior: file of prompts, one a line, of which the model first makes the clips that the folder lacks",
    "none",
  ),
  priorShare: key("share", "of prior: its clips' share of what is learned from", "0.5"),
  priorWeight: key("number", "of prior: what the loss of its clips counts, where others count 1", "1", { min: 0 }),
  priorTarget: key("choice", "of prior: learn its clips as the model has them before the run, or as they are", "model", {
    choices: ["model", "clips"],
  }),
  steps: key("whole", "steps of the run", "1000", { min: 1 }),
  seed: key("whole", "decides every draw of the run", "0", { min: 0 }),
  batch: key("whole", "clips of one size in a micro-step", "1", { min: 1 }),
  budget: key("whole", "tokens of a pack: clips of any length and size share a sequence, in place of a batch", "clips are not packed", {
    min: 2,
  }),
  packClips: key("whole", "clips of a pack at most", "as many as have room, up to 64", { min: 1 }),
  packWindow: key("whole", "clips that are looked at together for what fits", "256", { min: 1 }),
  packRope: key("choice", "rotary positions of a pack's clips: counted from the table's start, or as sampling has them", "prefix", {
    choices: ["prefix", "pipeline"],
  }),
  packAverage: key("choice", "what a pack's loss is the mean of: of its clips, or of all tokens", "clip", { choices: ["clip", "token"] }),
  accumulation: key("whole", "micro-steps of a step, whose gradients are added up", "1", { min: 1 }),
  diloco: key(
    "whole",
    "steps that replicas take apart, before an outer optimizer steps by what they came to (DiLoCo)",
    "one device takes all",
    {
      min: 1,
    },
  ),
  replicas: key("whole", "of diloco: replicas, each with clips of its own", "2", { min: 1 }),
  outerLr: key("number", "of diloco: rate of the outer optimizer, SGD with Nesterov's momentum", "0.7", { min: 0 }),
  outerMomentum: key("share", "of diloco: that momentum", "0.9"),
  exchange: key("choice", "of diloco: how replicas give what they came to", "int8", { choices: ["int8", "f32"] }),
  innerState: key("choice", "of diloco: does a replica's optimizer go on from round to round, or begin each anew?", "kept", {
    choices: ["kept", "fresh"],
  }),
  rank: key("whole", "rank of the adapter", "64", { min: 1 }),
  alpha: key("number", "strength of the adapter: alpha / rank", "the rank"),
  targets: key("texts", "modules that are adapted", "to_q, to_k, to_v, to_out.0"),
  full: key("flag", "train the model's own weights in place of an adapter", "false"),
  scratch: key("flag", "with full: begin with drawn weights in place of the checkpoint's", "false"),
  optimizer: key("choice", "adamw or muon", "adamw", { choices: ["adamw", "muon"] }),
  lr: key("number", "learning rate", "1e-4", { min: 0 }),
  betas: key("numbers", "of AdamW's means", "0.9, 0.95"),
  eps: key("number", "of AdamW", "1e-8", { min: 0 }),
  weightDecay: key("number", "decoupled weight decay", "1e-4", { min: 0 }),
  momentum: key("share", "of Muon", "0.95"),
  bits: key("choice", "bits of a value of AdamW's means", "32", { choices: ["8", "32"] }),
  schedule: key("choice", "how the learning rate falls after the warm-up", "constant", { choices: ["constant", "cosine", "linear"] }),
  warmup: key("whole", "steps in which the learning rate rises", "0", { min: 0 }),
  floor: key("share", "what is left of the rate at the end", "0"),
  maxGradNorm: key("number", "gradients above this norm are scaled down to it; 0 for no clipping", "1", { min: 0 }),
  ema: key("share", "decay of a moving average of what is trained, which is then the result", "none is kept"),
  timesteps: key("choice", "uniform: each draw of a step in an interval of its own", "uniform", { choices: ["uniform", "random"] }),
  timestepRange: key(
    "numbers",
    "first and last timestep that clips are learned at, 0 to 999, the last with the most noise; prior clips at all",
    "all",
  ),
  textDropout: key("share", "share of clips that are learned without their caption", "0.1"),
  nullText: key("choice", "what stands for no caption: zeros, or the encoding of an empty one", "zeros", { choices: ["zeros", "empty"] }),
  conditionDropout: key("share", "share of clips that are learned without their image", "0.05"),
  checkpointing: key("choice", "what is kept of a block's forward pass", "attention", {
    choices: ["none", "attention", "blocks", "pairs"],
  }),
  dtype: key("choice", "storage type of frozen weights and activations", "f16 on GPUs that have it", { choices: ["f32", "f16"] }),
  memory: key("bytes", "of the adapter, such as 8GB: frozen weights come and go where all of them are too much", "as much as it takes"),
  adapter: key("text", "gpu, lavapipe, swiftshader, or part of an adapter's name", "the fastest here"),
  variant: key("text", "file-name variant of the weights, such as fp16", "none"),
  checkpointEvery: key("whole", "steps between checkpoints", "100", { min: 1 }),
  heldOut: key("path", "folder of clips that are not learned from, whose loss is told", "none"),
  heldOutEvery: key("whole", "steps between two measurements of that loss", "100", { min: 1 }),
  beside: key("path", "folder of another run, whose loss on held-out clips the report shows beside this one's", "none"),
  sampleEvery: key("whole", "steps between validation clips; 0 for none", "0", { min: 0 }),
  samplePrompts: key("texts", "what the validation clips show", "the first two captions"),
  sampleSteps: key("whole", "denoising steps of a validation clip", "the model's own", { min: 1 }),
} satisfies Readonly<Record<string, TrainKey>>;

export type TrainKeyName = keyof typeof TRAIN_KEYS;

/** Keys that a stage may have; what it leaves out is as the run has it. Only `steps` must be there. */
export const STAGE_KEYS = [
  "steps",
  "resolution",
  "frames",
  "fps",
  "filter",
  "pictures",
  "batch",
  "budget",
  "packClips",
  "packWindow",
  "packRope",
  "packAverage",
  "lr",
] as const satisfies readonly TrainKeyName[];

/** What was given, by key. */
export type TrainValues = { readonly [K in TrainKeyName]?: unknown };

const MOST_STAGES = 100;

/** A key as a flag: `weightDecay` is `--weight-decay`. */
export const flagName = (name: string): string => `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;

/** Keys of a command, and those that a stage may have. */
export interface KeyTable {
  /** The page that tells of them. */
  readonly page: string;
  readonly keys: Readonly<Record<string, TrainKey>>;
  readonly ofStage: readonly string[];
}

export const TRAIN_TABLE: KeyTable = { page: "docs/training.md", keys: TRAIN_KEYS, ofStage: STAGE_KEYS };

/** Throws for a key that there is none of, and tells the nearest. @param names those that there are */
export function checkKeys(
  given: Readonly<Record<string, unknown>>,
  where: string,
  table: KeyTable = TRAIN_TABLE,
  names: readonly string[] = Object.keys(table.keys),
): void {
  for (const [name, value] of Object.entries(given)) {
    checkKey(name, value, { room: "train", where, page: table.page, keys: table.keys, names });
    if (name === "stages")
      for (const [i, stage] of (value as Record<string, unknown>[]).entries())
        checkKeys(stage, `${where}, stage ${i + 1}`, table, table.ofStage);
  }
}

/** What a key is checked by: where it stands, the page that has its keys, and the names that there are. */
export interface KeyPlace {
  readonly room: string;
  /** The file, or the command line. */
  readonly where: string;
  readonly page: string;
  readonly keys: Readonly<Record<string, TrainKey>>;
  readonly names: readonly string[];
}

/** Throws for a key that there is none of, with the nearest, and for a value that is none of it. */
export function checkKey(name: string, value: unknown, { room, where, page, keys, names }: KeyPlace): void {
  if (!names.includes(name)) {
    const near = nearestName(name, names);
    throw new CogwheelError(
      room,
      `${where}: a key must be one of those in ${page}, got ${JSON.stringify(name)}; ` +
        (near ? `the nearest is ${near}` : `there are ${names.join(", ")}`),
    );
  }
  const wrong = whatIsWrongWith(keys[name]!, value);
  if (wrong) throw new CogwheelError(room, `${where}: ${name} must be ${wrong}, got ${JSON.stringify(value)?.slice(0, 80)}; correct it`);
}

/** What a value must be, in words; undefined where it is that. */
function whatIsWrongWith({ kind, choices, min }: TrainKey, value: unknown): string | undefined {
  const isText = typeof value === "string" && value.length > 0 && value.length <= 100_000;
  const isTexts = Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string" && one);
  const isNumber = typeof value === "number" && Number.isFinite(value);
  switch (kind) {
    case "text":
    case "path":
      return isText ? undefined : "a text";
    case "bytes":
      return (isNumber && value > 0) || (isText && bytesOfText(value)) ? undefined : "bytes with their unit, such as 8GB";
    case "workers":
      return isText || (Number.isSafeInteger(value) && (value as number) > 0) ? undefined : "a number of processes, or names of adapters";
    case "paths":
      return isText || isTexts ? undefined : "a path, or a list of paths";
    case "texts":
      return isTexts ? undefined : "a list of texts";
    case "stages":
      return Array.isArray(value) && value.length > 0 && value.length <= MOST_STAGES && value.every(isObject)
        ? undefined
        : `a list of 1 to ${MOST_STAGES} stages, each an object`;
    case "object":
      return isObject(value) ? undefined : "an object";
    case "numbers":
      return Array.isArray(value) && value.every((one) => Number.isFinite(one)) ? undefined : "a list of numbers";
    case "flag":
      return typeof value === "boolean" ? undefined : "true or false";
    case "choice":
      return choices!.includes(String(value)) ? undefined : choices!.join(" or ");
    case "share":
      return isNumber && value >= 0 && value <= 1 ? undefined : "a share from 0 to 1";
    case "whole":
      return Number.isSafeInteger(value) && (value as number) >= min! ? undefined : `a whole number from ${min}`;
    default:
      return isNumber && (min === undefined || value >= min) ? undefined : `a number${min === undefined ? "" : ` from ${min}`}`;
  }
}
