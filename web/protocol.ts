/** What the page and its worker say to each other. The engine lives in the worker alone, so that the page always answers. */
import type { PublishedFit } from "../src/pipelines/cogvideox/published-fit.ts";
import type { GenerateOptions, OpenOptions, OverallProgress, RgbaFrame, Settings } from "../src/index.ts";

/** Files in place of a model's own weights. */
export type PartFiles = Partial<Record<"transformer" | "textEncoder" | "vae", File>>;

/** A model, with the files that stand in place of its own. */
export type ModelChoice = ModelPlace & { parts?: PartFiles; dtype?: Precision };

/** How weights are kept on the GPU. */
export type Precision = NonNullable<OpenOptions["dtype"]>;

export type ModelPlace =
  | { kind: "embedded" }
  | { kind: "url"; url: string; store: boolean }
  | { kind: "stored"; name: string }
  | { kind: "folder"; name: string; files: FileSystemDirectoryHandle | ReadonlyMap<string, File> };

/** What a file is used as. */
export type Role = "image" | "video" | "control";

export interface GenerateRequest {
  model: ModelChoice;
  /** What the form says; of it what belongs to the task is taken. */
  options: Partial<GenerateOptions> & { prompt: string };
  input: { file: File; role: Role } | null;
  /** On the transformer, beside its weights. */
  adapter: { file: File; scale: number } | null;
  /** Go on from where the last generation stopped. */
  resume: boolean;
  /** What the form said, to fill it in again. */
  form: FormValues;
}

/** A form's fields by their names; those that are not there are empty. */
export type FormValues = Record<string, string>;

/** A video as this browser keeps it. */
export interface KeptVideo {
  /** Its name in the storage, by which videos are in the order in which they were made. */
  id: string;
  thumbnail: Blob;
  settings: Made["settings"];
  seconds: Record<string, number>;
  peakBytes: number;
  width: number;
  height: number;
  /** Frames. */
  count: number;
  /** What the form said, with the seed. */
  form: FormValues;
  /** Files that had a part in it, which are not kept: by their names. */
  files: string[];
  /** The folder that the model was in, which a page may not open by itself. */
  folder: string | null;
}

/** A clip to learn from, a film or a picture, and what it shows. */
export interface Captioned {
  file: File;
  caption: string;
}

/** What a training run is. */
export interface TrainRequest {
  model: ModelChoice;
  clips: Captioned[];
  steps: number;
  rank: number;
  /** The learning rate. */
  rate: number;
  /** A video of `samplePrompt` is made after every so many steps; 0 for none. */
  sampleEvery: number;
  samplePrompt: string;
}

/** Clips of moving shapes to draw: of one shape and one motion, or of any (""). */
export interface DrawRequest {
  shape: string;
  motion: string;
  count: number;
  /** How many were drawn before. */
  from: number;
}

/** A prompt to be rewritten by a model behind an OpenAI-compatible address. */
export interface EnhanceRequest {
  model: ModelChoice;
  prompt: string;
  /** The first frame, where the video begins from a picture. */
  image: File | null;
  url: string;
  /** The model there; "" for the only one. */
  served: string;
  /** "" for none. */
  key: string;
}

/** What a run has learned when it is over, or stopped. */
export interface Taught {
  adapter: Blob;
  step: number;
  steps: number;
}

export type ToWorker =
  | { type: "adapter" }
  | { type: "open"; model: ModelChoice }
  | { type: "plan"; model: ModelChoice; options: Partial<GenerateOptions> }
  | { type: "times"; model: ModelChoice; options: Partial<GenerateOptions> }
  | { type: "generate"; request: GenerateRequest }
  | { type: "enhance"; request: EnhanceRequest }
  | { type: "draw-clips"; request: DrawRequest }
  | { type: "train"; request: TrainRequest; resume: boolean }
  | { type: "encode"; format: "mp4" | "webm" | "gif"; video: string | null }
  | { type: "identify"; file: File }
  | { type: "list-videos" }
  | { type: "recall"; video: string }
  | { type: "forget-videos"; ids?: readonly string[] }
  | { type: "list-models" }
  | { type: "look"; url: string }
  | { type: "list-stored" }
  | { type: "remove-stored"; name: string }
  | { type: "list-prompts" }
  | { type: "forget-prompts" }
  | { type: "validate"; files: File[] }
  | { type: "check" }
  | { type: "benchmark" }
  | { type: "cancel"; ids: readonly number[] };

/** What an opened model says of itself. */
export interface ModelFacts {
  label: string;
  defaults: Settings;
  /** What a file is used as where the user does not choose, and what it can be. */
  role: Role;
  roles: readonly Role[];
  takes: "text" | "image" | "control" | "image or control" | "inpaint";
  /** In frames: those that it can make from a prompt, and those with a file beside. */
  lengths: { alone: number[]; withFile: number[] };
  dtype: "f32" | "f16";
}

/** News of a request under way. */
export type News =
  | { type: "progress"; stage: string; done: number; detail: string; memory: number; whole?: OverallProgress }
  | { type: "step"; step: number; steps: number; seconds: number; secondsLeft: number; preview: RgbaFrame[] }
  | { type: "learned"; step: number; steps: number; loss: number; seconds: number }
  | { type: "sample"; step: number; frames: RgbaFrame[] }
  | { type: "warning"; message: string }
  | { type: "row"; row: unknown };

/** How the worker tells them. */
export type Say = (news: News, transfer?: Transferable[]) => void;

/** News of a request, or its answer, by the request's number. */
export type FromWorker = { id: number } & (
  | News
  | { type: "answer"; value: unknown }
  | { type: "error"; message: string; resumable?: boolean; cancelled?: boolean }
);

export interface Made {
  frames: RgbaFrame[];
  /** As it is kept; null where this browser could not keep it. */
  kept: KeptVideo | null;
  settings: Settings & { seed: number; prompt: string };
  seconds: Record<string, number>;
  peakBytes: number;
}

/** What a generation will take. */
export interface Plan {
  /** Of the GPU's memory, at its most. */
  bytes: number;
  /** Of a prompt that the model does not know. */
  advice?: string;
  /** Where rates were measured; loading is not in it where nobody knows how fast weights come. */
  times?: { stage: string; seconds: number }[];
}

/** What a dropped file is: a result of this engine, with what made it, weights, or what a video can begin from. */
export type Identified =
  | { kind: "result"; made: Record<string, unknown> }
  | { kind: "weights"; part: "adapter" | keyof PartFiles }
  | { kind: "picture" | "film" };

/** A published model. */
export interface OfferedModel {
  /** On the hub. */
  id: string;
  title: string;
  makes: string;
  licence: string;
  /** Of its weights. */
  bytes: number;
}

/** What is to be fetched of a model: less than all of it, where this browser has some. */
export interface Fetched {
  bytes: number;
}

/** What a published model takes of the GPU, or why it cannot be. */
export type FitAnswer = { id: string } & (PublishedFit | { refused: string });

/** Encoded prompts that this browser keeps. */
export interface KeptPrompts {
  count: number;
  bytes: number;
}
