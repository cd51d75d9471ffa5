/**
 * How the VAE's work on a clip is cut for the memory of a worker, by plans alone. In time a worker has all frames of a piece at once; where
 * that is too much, pieces are smaller, down to one frame batch, and taken in turn. In space nothing is smaller than a worker's rows.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { partBatches } from "../models/vae/batches.ts";
import type { VaeConfig } from "../models/vae/config.ts";
import type { SplitClip } from "../models/vae/split/share.ts";
import type { ClipPlanner } from "../pipelines/cogvideox/share.ts";
import { defined } from "../pipelines/options.ts";
import type { StageMemory } from "../pipelines/requirements.ts";
import { measurePiece } from "../pipelines/workers/needs.ts";

/** Plans for one VAE on one adapter, each made once. */
export class ClipCuts {
  readonly #measured = new Map<string, StageMemory | CogwheelError>();

  constructor(
    private readonly config: VaeConfig,
    private readonly caps: Capabilities,
  ) {}

  /**
   * What fits into so many bytes of an adapter's memory, else what comes closest: `memory.pieceBatches` tells how the clip is cut. Throws
   * where even the smallest piece is too large for the adapter's buffers.
   */
  within(clip: SplitClip, workers: number, limit: number): StageMemory {
    let smallest: StageMemory | CogwheelError | undefined;
    for (const pieceBatches of sizes(clip, workers)) {
      const found = this.#measure({ ...clip, ...defined({ pieceBatches }) }, workers);
      if (!(found instanceof CogwheelError) && found.peak <= limit) return found;
      if (smallest === undefined || smallest instanceof CogwheelError || (!(found instanceof CogwheelError) && found.peak < smallest.peak))
        smallest = found;
    }
    if (smallest instanceof CogwheelError) throw smallest;
    return smallest!;
  }

  /** What a piece takes; the error of one that is too large for the adapter's buffers. */
  #measure(clip: SplitClip, workers: number): StageMemory | CogwheelError {
    const key = JSON.stringify([clip, workers]);
    const found = this.#measured.get(key) ?? measured(() => measurePiece(this.config, this.caps, clip, workers));
    this.#measured.set(key, found);
    return found;
  }
}

function measured(measure: () => StageMemory): StageMemory | CogwheelError {
  try {
    return measure();
  } catch (error) {
    if (error instanceof CogwheelError) return error;
    throw error;
  }
}

/** Frame batches of a piece, from the most on: undefined where every worker has one piece. */
function sizes({ axis, part, frames }: SplitClip, workers: number): (number | undefined)[] {
  const all: (number | undefined)[] = [undefined];
  if (axis === "space") return all;
  const each = partBatches(part, frames).length / workers;
  for (let size = Math.floor(workers === 1 ? each / 2 : each); size >= 1; size = Math.floor(size / 2)) all.push(size);
  return all;
}

/** Plans the VAE's part of a job that is split so, for a worker alone: its partner may be lost at any time. */
export function clipPlanner(axis: SplitClip["axis"]): ClipPlanner {
  let cuts: { readonly of: VaeConfig; readonly caps: Capabilities; readonly made: ClipCuts } | undefined;
  return {
    axis,
    plan(config, caps, shape, limit) {
      if (cuts?.of !== config || cuts.caps !== caps) cuts = { of: config, caps, made: new ClipCuts(config, caps) };
      const { made } = cuts;
      return { memory: made.within({ ...shape, axis }, 1, limit), least: () => made.within({ ...shape, axis }, 1, 0).peak };
    },
  };
}
