/** A run of a VAE over workers, once the largest piece of the clip is known to fit; only calls that ask for workers load it. */
import { availableMemoryBytes } from "#platform";
import { CogwheelError } from "../../base/errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { VideoShape } from "../../models/vae/batches.ts";
import type { VaeConfig } from "../../models/vae/config.ts";
import type { VaeRunOptions } from "../../models/vae/model.ts";
import type { ClipRunner } from "../../models/vae/split/clip.ts";
import { defined } from "../options.ts";
import { refuseBeyond, together } from "../requirements.ts";
import type { VaeCallOptions } from "../vae-run.ts";
import { measurePiece } from "./needs.ts";
import type { WorkerPlace } from "./types.ts";

/** A run over workers, once the largest piece is known to fit; what does not fit is refused before any worker starts. */
export function workersRun(
  vae: { readonly config: VaeConfig; readonly gpu: Gpu; readonly dtype: "f32" | "f16" },
  part: "encode" | "decode",
  shape: VideoShape,
  { tiling, signal, checkFinite, onProgress, split = "time", onWorkers }: VaeCallOptions,
  places: readonly WorkerPlace[],
  runner: () => ClipRunner,
): VaeRunOptions {
  if (tiling !== undefined)
    throw new CogwheelError("vae", `a worker takes its part of a clip whole, got workers and tiling ${tiling}; leave one of them out`);
  if (split !== "time" && split !== "space")
    throw new CogwheelError("vae", `a clip is split in time or space, got ${JSON.stringify(split)}; leave it out for time`);
  const clip = { axis: split, part, ...shape, format: part === "encode" ? "sample" : "rgba", dtype: vae.dtype } as const;
  const piece = measurePiece(vae.config, vae.gpu.caps, clip, places.length);
  // All on one machine, whose memory CPU adapters share.
  const needs = vae.gpu.caps.kind === "software" ? together(places.map(() => piece)) : piece;
  const what = `to ${part} ${shape.frames} frames of ${shape.width} × ${shape.height} over ${places.length} workers`;
  refuseBeyond(availableMemoryBytes(), "vae", what, needs, vae.gpu.caps);
  return { workers: runner(), split, ...defined({ signal, checkFinite, onProgress, onWorkers }) };
}
