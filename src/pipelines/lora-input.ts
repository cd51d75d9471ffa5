/** An adapter as `generate` takes it. */
import type { SchedulerKind } from "../diffusion/scheduler.ts";
import type { LoraAdapter } from "../models/lora/merge.ts";

/** How an adapter wants to be sampled with, by its own file: an adapter for four steps is of no use in fifty. */
export interface AdapterAdvice {
  readonly steps?: number;
  readonly timesteps?: readonly number[];
  readonly guidance?: number;
  readonly scheduler?: SchedulerKind;
}

/** An adapter in memory; read it once with `loadLora` and give it to many generations. */
export interface LoadedLora extends Omit<LoraAdapter, "scale"> {
  /** Taken where nothing else is asked for, before the checkpoint's own advice. */
  readonly advice?: AdapterAdvice;
}

/** What `generate` takes: an adapter that was loaded, a file or folder (Node), a URL, or the bytes of a file. */
export interface LoraInput {
  readonly adapter: string | URL | Uint8Array | LoadedLora;
  /** Multiplies the change. Default 1. */
  readonly scale?: number;
}
