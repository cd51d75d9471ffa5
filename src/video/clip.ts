/**
 * Frames of a film at another rate and size, as training takes them: the frame that is shown at each moment, cut to the wanted shape.
 * Frames that are not taken are gone at once, so a long film takes no more memory than what is kept of it.
 */
import type { DecodeOptions } from "./decode-options.ts";
import type { Frame } from "./frame.ts";

export interface ReadClipOptions extends Pick<DecodeOptions, "signal" | "onWarning" | "limits" | "reader"> {
  /** Frames a second. */
  readonly fps: number;
  /** The most frames that are taken; 1 is the first alone. */
  readonly frames: number;
  /** What a film of this size is scaled to cover, and cropped to in its middle. */
  size(width: number, height: number): { readonly width: number; readonly height: number };
  /** What messages call the film. Default: the video. */
  readonly name?: string;
}

export interface Clip {
  /** Of the film. */
  readonly source: { readonly width: number; readonly height: number };
  /** Of one size; a picture gives one, and a film as many as it lasts for, up to those that were asked for. */
  readonly frames: readonly Frame[];
}

/** Times in files are rounded: to hundredths of a second in a GIF. */
const ROUNDING = 0.01;

/** Reads a film or a picture from its bytes. Throws a CogwheelError where they are none that can be read. */
export async function readClip(
  bytes: Uint8Array,
  { fps, frames: most, size, name = "the video", limits, ...options }: ReadClipOptions,
): Promise<Clip> {
  const [{ fitFrame }, { readUntrusted }, { limitsOf }] = await Promise.all([
    import("./fit.ts"),
    import("#sandbox"),
    import("./read-video.ts"),
  ]);
  const kept: Frame[] = [];
  let source: Clip["source"] | undefined;
  let to = { width: 0, height: 0 };
  let before: { fitted?: Frame; frame: Frame; seconds: number; duration: number } | undefined;
  let between = 0;
  /** The frame before is shown at every moment up to `until`. */
  const take = (until: number): void => {
    while (before && kept.length < most && kept.length / fps < until - ROUNDING)
      kept.push((before.fitted ??= fitFrame(before.frame, { ...to, fit: "crop" })));
  };
  const request = { name, maxFrames: Number.MAX_SAFE_INTEGER, limits: limitsOf(limits ?? {}) };
  if (most === 1) request.maxFrames = 1;
  for await (const { width, height, data, seconds = 0, duration = 0 } of readUntrusted({ bytes }, request, options)) {
    if (!source) {
      source = { width, height };
      to = { ...size(width, height) };
    }
    take(seconds);
    if (kept.length === most) break;
    between = seconds - (before?.seconds ?? seconds);
    before = { frame: { width, height, data }, seconds, duration };
  }
  if (!source || !before) {
    const { CogwheelError } = await import("../base/errors.ts");
    throw new CogwheelError("video", `${name} must have at least one frame, got none; convert it`);
  }
  // The last frame lasts as long as the file says, else as the one before; of a picture and of any film it is there once.
  take(Math.max(before.seconds + (before.duration || between), 2 * ROUNDING));
  return { source, frames: kept };
}
