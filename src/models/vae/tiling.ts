/** How pictures that are too large for the adapter are gone about: what a caller may say, and what it means. */
import { CogwheelError } from "../../base/errors.ts";
import type { ExactLimits } from "./exact/run.ts";
import type { Tiling } from "./reference-tiling.ts";

export interface ExactTiling {
  readonly mode: "exact";
  /** Bytes of activations that may be on the adapter at once. Default 512 MiB. */
  readonly budgetBytes?: number;
  /** Bytes of activations that may be in the host's memory at once; what is more lies on a disk (in Node). Default: all. */
  readonly hostBytes?: number;
}

export const DEFAULT_TILE_BYTES = 512 << 20;

/** The budget of exact tiling, the arguments of the reference's, or neither; none where the clip is split over workers. */
export function tilingOf(
  tiling: Tiling | "reference" | "exact" | ExactTiling | undefined,
  workers = false,
): { exact: ExactLimits } | { reference: Tiling } | null {
  if (tiling === undefined) return null;
  if (workers) throw new CogwheelError("vae", "a worker takes its part of a clip whole, got workers and tiling; leave one of them out");
  if (tiling === "exact") return { exact: { tileBytes: DEFAULT_TILE_BYTES, hostBytes: Infinity } };
  if (tiling === "reference") return { reference: {} };
  if (typeof tiling !== "object" || tiling === null || ("mode" in tiling && tiling.mode !== "exact"))
    throw new CogwheelError(
      "vae",
      `tiling must be "exact", "reference", { mode: "exact", ` +
        `budgetBytes, hostBytes } or the arguments of enable_tiling, got ${JSON.stringify(tiling)}`,
    );
  if (!("mode" in tiling)) return { reference: tiling };
  const { budgetBytes = DEFAULT_TILE_BYTES, hostBytes = Infinity } = tiling;
  if (!(budgetBytes > 0))
    throw new CogwheelError("vae", `budgetBytes must be above 0, got ${budgetBytes}; the default is ${DEFAULT_TILE_BYTES}`);
  if (!(hostBytes > 0)) throw new CogwheelError("vae", `hostBytes must be above 0, got ${hostBytes}; leave it out for all there is`);
  return { exact: { tileBytes: budgetBytes, hostBytes } };
}
