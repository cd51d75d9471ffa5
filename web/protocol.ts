/** What the page and its worker say to each other. The engine lives in the worker alone, so that the page always answers. */
import type { GenerateOptions, RgbaFrame, Settings } from "../src/index.ts";

/** Files in place of a model's own weights. */
export type PartFiles = Partial<Record<"transformer" | "textEncoder" | "vae", File>>;

/** A model, with the files that stand in place of its own. */
export type ModelChoice = ModelPlace & { parts?: PartFiles };

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
  /** Go on from where the last generation stopped. */
  resume: boolean;
}

export type ToWorker =
  | { type: "adapter" }
  | { type: "open"; model: ModelChoice }
  | { type: "plan"; model: ModelChoice; options: Partial<GenerateOptions> }
  | { type: "times"; model: ModelChoice; options: Partial<GenerateOptions> }
  | { type: "generate"; request: GenerateRequest }
  | { type: "encode"; format: "mp4" | "webm" | "gif" }
  | { type: "list-stored" }
  | { type: "remove-stored"; name: string }
  | { type: "list-prompts" }
  | { type: "forget-prompts" }
  | { type: "validate"; files: File[] }
  | { type: "benchmark" }
  | { type: "cancel" };

/** What an opened model says of itself. */
export interface ModelFacts {
  label: string;
  defaults: Settings;
  /** What a file is used as where the user does not choose. */
  role: Role;
  dtype: "f32" | "f16";
}

/** News of a request under way. */
export type News =
  | { type: "progress"; stage: string; done: number; detail: string; memory: number }
  | { type: "step"; step: number; steps: number; seconds: number; secondsLeft: number; preview: RgbaFrame[] }
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
  settings: Settings & { seed: number; prompt: string };
  seconds: Record<string, number>;
  peakBytes: number;
}

/** What a generation will take. */
export interface Plan {
  /** Of the GPU's memory, at its most. */
  bytes: number;
  /** Where rates were measured; loading is not in it where nobody knows how fast weights come. */
  times?: { stage: string; seconds: number }[];
}

/** Encoded prompts that this browser keeps. */
export interface KeptPrompts {
  count: number;
  bytes: number;
}
