/** What a pipeline says of worker processes, wherever it runs, and the messages between them and it. */
import type { Gpu } from "../../gpu/gpu.ts";
import type { ClipRunner } from "../../models/vae/split/clip.ts";
import type { SplitClip } from "../../models/vae/split/share.ts";
import type { WorkerReport } from "../../models/vae/split/run.ts";

/** Where a worker computes. */
export interface WorkerPlace {
  /** An adapter by name, as `adapters` lists them. Default: the one of the process that starts the worker. */
  readonly adapter?: string;
  /** Variables of its environment, such as those by which a driver chooses among GPUs of one name. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What a worker opens, of what JSON can say. */
export interface WorkerOpening {
  readonly from: string;
  readonly options: Readonly<Record<string, unknown>>;
}

/** Processes that are started by the first clip and kept for the next, until they are disposed of. */
export interface WorkerProcesses extends Disposable {
  readonly run: ClipRunner;
}

/**
 * What workers open that are to compute as this process does: the same checkpoint, type and choice of kernels. In words why they cannot,
 * where the checkpoint is not named but given.
 */
export function openingOf(
  from: unknown,
  { adapter, variant, hub, vae }: { adapter?: string; variant?: string; hub?: object; vae?: unknown },
  gpu: Gpu,
  dtype: "f32" | "f16",
): WorkerOpening | string {
  const named = (value: unknown): value is string | URL => typeof value === "string" || value instanceof URL;
  if (!named(from) || (vae !== undefined && !named(vae)))
    return "workers open the checkpoint themselves, so it must be named by a path or an address, got one that was given as it is; name it";
  const plain = Object.entries(hub ?? {}).filter(([, value]) => value === null || ["string", "number", "boolean"].includes(typeof value));
  const options = { adapter, variant, dtype, tuning: gpu.tuning?.table ?? false, hub: Object.fromEntries(plain), vae: vae && String(vae) };
  return { from: String(from), options };
}

/** The longest region that is believed: more than any device gives at once. */
export const MOST_BYTES = 2 ** 36;

/** A worker's piece of a clip. What goes into its parts follows as bytes, one after another. */
export interface PieceJob {
  readonly type: "piece";
  readonly clip: SplitClip;
  readonly workers: number;
  readonly index: number;
  readonly checkFinite: boolean;
}

export type ToPieceWorker =
  /** A {@link WorkerOpening} follows, as JSON: a table of kernels may be long. */
  | { readonly type: "open" }
  | PieceJob
  /** Its bytes follow. */
  | { readonly type: "region"; readonly from: number; readonly region: string };

export type FromPieceWorker =
  | { readonly type: "ready" }
  /** Its bytes follow. */
  | { readonly type: "put"; readonly to: number; readonly region: string }
  | { readonly type: "part"; readonly part: number; readonly shape: readonly number[] }
  | { readonly type: "progress"; readonly done: number }
  | { readonly type: "warning"; readonly text: string }
  | { readonly type: "done"; readonly report: WorkerReport }
  | { readonly type: "error"; readonly message: string };
