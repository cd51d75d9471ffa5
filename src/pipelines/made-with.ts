/** What a result was made with, as files keep it: in saved latents, and in the comment of a film or a picture. */
import type { LoraInput } from "./lora-input.ts";
import type { SavedSettings } from "./options/saved.ts";

/** The options, and what made it of them. */
export interface MadeWith extends SavedSettings {
  /** The checkpoint's name: of a path the last part. */
  readonly model: string;
  readonly dtype: "f32" | "f16";
  /** The package's. */
  readonly version: string;
  /** The engine's kernels, by a digest: others round otherwise. */
  readonly kernels: string;
  /** Of the checkpoint's weights, a digest, where the command line made it. */
  readonly weights?: string;
}

/** The last part of a path or an address. */
export const nameOf = (path: string): string =>
  path
    .replace(/[\\/]+$/, "")
    .split(/[\\/]/)
    .at(-1)!;

/** Adapters and scales as files name them. */
export const adapterNames = (loras: readonly LoraInput[] | undefined): string | undefined =>
  loras
    ?.map(
      ({ adapter, scale = 1 }) => `${typeof adapter === "string" || adapter instanceof URL ? nameOf(String(adapter)) : "given"}:${scale}`,
    )
    .join(", ");
