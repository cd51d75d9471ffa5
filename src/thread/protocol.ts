/** What an app's thread and a model's say to each other: calls with answers, in both directions, and what is told without one. */
import type { RgbaFrame } from "../video/frame.ts";
import type { Video } from "../pipelines/video.ts";
import type { GenerationStep } from "../pipelines/generation.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { OpenOptions } from "../pipelines/options.ts";

/** How messages come and go. */
export interface Port {
  /** Throws where a part of the message cannot be copied to another thread. */
  post(message: Message, transfer: readonly ArrayBuffer[]): void;
  /** Asked once, before anything is posted. */
  hear(heard: (message: Message) => void): void;
}

/** `id` is the caller's number of the call. */
export type Message =
  /** Until it is answered by the same, nobody knows whether the other side is there. */
  | { readonly type: "hello" }
  | { readonly type: "call"; readonly id: number; readonly name: string; readonly args: readonly unknown[] }
  | { readonly type: "abort"; readonly id: number; readonly reason: string }
  | { readonly type: "answer"; readonly id: number; readonly value: unknown }
  | { readonly type: "failure"; readonly id: number; readonly error: SentError }
  | { readonly type: "news"; readonly name: string; readonly args: readonly unknown[] };

/** An error on its way: its class does not come along. */
export type SentError =
  /** The reason that the caller aborted it with, which the caller still has. */
  | { readonly kind: "aborted" }
  /** An error that the caller threw itself, in one of its own calls that were called back. */
  | { readonly kind: "own"; readonly id: number }
  | { readonly kind: "other"; readonly text: string }
  | {
      readonly kind: "error";
      readonly name: string;
      readonly message: string;
      /** Of a `CogwheelError`. */
      readonly code?: string;
      /** Of a `GenerationInterrupted`. */
      readonly state?: unknown;
      readonly cause?: SentError;
    };

/** Options as they are sent: callbacks are named, and called back. */
export interface SentOptions {
  /** The app's number of what they are the options of; it is called back under it. */
  readonly task: number;
  readonly data: Readonly<Record<string, unknown>>;
  readonly callbacks: readonly string[];
}

/** A source that stays with the app, which reads for the model. */
export interface SentSource {
  readonly task: number;
  readonly label: string;
  /** Does it know of versions, and can it be told what will be read? */
  readonly versions: boolean;
  readonly prefetches: boolean;
  readonly pieceBytes?: number;
}

/** What is asked of the model's thread when it is to open one. */
export interface OpeningModel {
  readonly from: string | SentSource | undefined;
  /** The page that relative addresses count from. */
  readonly page: string | undefined;
  readonly options: SentOptions;
}

/** What an opened model says of itself. */
export type ModelFacts = Pick<CogVideoX, "configs" | "rules" | "defaults" | "dtype"> & { readonly label: string; readonly adapter: string };

/** A step: its previews, of every sample, come with it. */
export type SentStep = Omit<GenerationStep, "preview"> & { readonly previews: readonly (readonly RgbaFrame[])[] };

export type SentVideo = Pick<Video, "samples" | "settings" | "state" | "seconds" | "made">;

/** Options that are callbacks, of `generate` and of `open`; what those in `AWAITED` give is waited for. */
export const CALLBACKS = ["onProgress", "onFrames", "onStep", "onWarning"] as const;
export const AWAITED: ReadonlySet<string> = new Set(["onFrames", "onStep"]);
/** What belongs to the thread that has the device. */
export const NOT_SENT = ["gpu", "gpuProfile", "share", "textures"] as const satisfies readonly (
  | keyof OpenOptions
  | keyof Parameters<CogVideoX["prepare"]>[0]
)[];
