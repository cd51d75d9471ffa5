/** How a VAE goes about a video: whole or in tiles, once the plan is known to fit. */
import { availableMemoryBytes } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { VideoShape } from "../models/vae/batches.ts";
import type { VaeConfig } from "../models/vae/config.ts";
import type { TilingReport } from "../models/vae/exact/run.ts";
import type { VaeRunOptions } from "../models/vae/model.ts";
import type { WorkerReport } from "../models/vae/split/run.ts";
import { hostRoom, spilling } from "./host-room.ts";
import { defined, type TilingMode } from "./options.ts";
import { expectOption } from "./options/check.ts";
import { refuseBeyond } from "./requirements.ts";
import { measureVae } from "./vae-requirements.ts";
import type { WorkerPlace } from "./workers/types.ts";

/** What a call of a VAE may be told. */
export interface VaeCallOptions {
  /** How large pictures are gone about (docs/vae.md). Default `none` where the adapter can, else `exact`. */
  tiling?: TilingMode;
  signal?: AbortSignal;
  /** Looks at every node's output and stops at the first NaN or infinity, naming the node. */
  checkFinite?: boolean;
  /** Share that is done, 0 to 1. */
  onProgress?: (done: number) => void;
  /** What exact tiling took: tiles, bytes on the adapter and the host, bytes moved, seconds. */
  onTiling?: (report: TilingReport) => void;
  /**
   * Splits the clip over so many processes, each with a device of its own, or over those at these places (docs/vae.md, over workers). At
   * most one for each latent frame, or row of latents; not with tiling; in Node only. Default: this process alone.
   */
  workers?: number | readonly WorkerPlace[];
  /** Do workers hold frames of the clip (`time`, the default), or rows (`space`), for which they exchange less and more often? */
  split?: "time" | "space";
  /** What each worker took: latent frames, bytes exchanged, seconds of waiting, bytes on its device. */
  onWorkers?: (reports: readonly WorkerReport[]) => void;
}

/** Which tiling, once the plan is known to fit; what does not fit is refused before anything is loaded. */
export function vaeRun(
  vae: { readonly config: VaeConfig; readonly gpu: Gpu; readonly dtype: "f32" | "f16" },
  part: "encode" | "decode",
  shape: VideoShape,
  { tiling, signal, checkFinite, onProgress, onTiling }: VaeCallOptions,
): VaeRunOptions {
  if (tiling !== undefined) expectOption("tiling", tiling, "vae");
  const plan = (mode: TilingMode) => ({
    mode,
    ...measureVae(vae.config, vae.gpu.caps, { part, ...shape, format: part === "encode" ? "sample" : "rgba", dtype: vae.dtype }, mode),
  });
  let planned: ReturnType<typeof plan>;
  try {
    planned = plan(tiling ?? "none");
  } catch (error) {
    if (tiling !== undefined || !(error instanceof CogwheelError)) throw error;
    planned = plan("exact");
  }
  const free = availableMemoryBytes();
  if (free !== undefined) planned = { ...planned, ...spilling(planned, hostRoom([planned], vae.gpu.caps, free)) };
  refuseBeyond(
    free,
    "vae",
    `to ${part} ${shape.frames} frames of ${shape.width} × ${shape.height}`,
    planned,
    vae.gpu.caps,
    planned.mode === "none" ? "tiling exact" : undefined,
  );
  const { mode, spilled, host } = planned;
  const how = mode === "none" ? undefined : mode === "exact" && spilled ? ({ mode, hostBytes: host } as const) : mode;
  return { ...defined({ tiling: how, signal, checkFinite, onProgress, onTiling }) };
}

/** Where the workers of a call are. */
export function placesOf(workers: number | readonly WorkerPlace[]): readonly WorkerPlace[] {
  if (Array.isArray(workers)) {
    if (workers.length && workers.every((place) => typeof place === "object" && place !== null)) return workers as readonly WorkerPlace[];
  } else if (Number.isInteger(workers) && (workers as number) >= 1) return Array.from({ length: workers as number }, () => ({}));
  throw new CogwheelError(
    "vae",
    `workers must be a whole number from 1 up or a list of places ({ adapter, env }), got ${JSON.stringify(workers)}; ` +
      "leave it out for this process alone",
  );
}
