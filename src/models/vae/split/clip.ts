/** A clip over workers: all of them in this process, on one device, each with a piece and memory of its own; or one of those elsewhere. */
import type { Gpu } from "../../../gpu/gpu.ts";
import type { TensorSpec } from "../../../graph/tensor.ts";
import { becomesPixels } from "../../../ops/pixels.ts";
import { fitting } from "../../../run/misfit.ts";
import type { RunOptions } from "../../../run/program.ts";
import type { WeightStore } from "../../../run/weight-store.ts";
import { takeFrames } from "../batches.ts";
import type { VaeConfig } from "../config.ts";
import { Board, localPeers, type Peer } from "./peer.ts";
import { pieceGraph, type Deal, type PieceOptions } from "./piece.ts";
import { PieceRun, type WorkerReport } from "./run.ts";
import { piecesOf, unitsOf, type Unit } from "./units.ts";

export type ClipRunOptions = Pick<RunOptions, "signal" | "profile" | "checkFinite" | "observe" | "onProgress">;

/** A clip [B, C, frames, height, width] and how it is encoded or decoded. */
export interface SplitClip extends PieceOptions {
  readonly frames: number;
}

/** What the workers of a clip compute with. */
export interface ClipTools {
  readonly gpu: Gpu;
  readonly weights: WeightStore;
  readonly config: VaeConfig;
}

/** Takes what comes out of each unit, in the order of the clip: bytes in the layout of the graph's output. */
export type CollectUnit = (unit: Unit, bytes: ArrayBuffer, y: Pick<TensorSpec, "shape">) => void | Promise<void>;

/** Runs a clip over workers, wherever they are. */
export type ClipRunner = (
  clip: SplitClip,
  data: Float32Array,
  options: ClipRunOptions,
  collect: CollectUnit,
) => Promise<readonly WorkerReport[]>;

/** A clip's units, dealt out to so many workers; throws where they are too many. */
export function dealOf(config: VaeConfig, { part, frames }: Pick<SplitClip, "part" | "frames">, workers: number): Deal {
  const units = unitsOf(config, part, frames);
  return { units, pieces: piecesOf(units.length, workers) };
}

/** What goes in of a unit. */
export function unitInput(
  config: VaeConfig,
  { part, batch, frames, height, width }: SplitClip,
  data: Float32Array,
  unit: Unit,
): Float32Array {
  const channels = part === "encode" ? config.in_channels : config.latent_channels;
  return takeFrames(data, unit, frames, height * width, batch * channels);
}

/** Runs one worker's piece of a clip, with this device, among its peers. */
export async function runPiece(
  { gpu, weights, config }: ClipTools,
  clip: SplitClip,
  x: (unit: Unit) => Float32Array,
  peer: Peer,
  options: ClipRunOptions,
  collect: CollectUnit,
): Promise<WorkerReport> {
  const deal = dealOf(config, clip, peer.count);
  const load = options.signal ? { signal: options.signal } : {};
  using run = await fitting(() => PieceRun.create(gpu, weights, pieceGraph(config, weights.provider, deal, peer.index, clip), load));
  return await run.run(
    x,
    peer,
    { ...options, checkFinite: options.checkFinite || (clip.format === "sample" ? false : becomesPixels) },
    collect,
  );
}

/** Runs a clip over so many virtual workers, all at once. */
export async function runClip(
  tools: ClipTools,
  workers: number,
  clip: SplitClip,
  data: Float32Array,
  options: ClipRunOptions,
  collect: CollectUnit,
): Promise<WorkerReport[]> {
  const { gpu, weights, config } = tools;
  const deal = dealOf(config, clip, workers);
  const held: PieceRun[] = [];
  const release = (): void => {
    for (const run of held.splice(0)) run[Symbol.dispose]();
  };
  try {
    await fitting(async () => {
      const load = options.signal ? { signal: options.signal } : {};
      for (const worker of deal.pieces.keys())
        held.push(await PieceRun.create(gpu, weights, pieceGraph(config, weights.provider, deal, worker, clip), load));
    }, release);
    const board = new Board();
    const done = new Array<number>(workers).fill(0);
    const { onProgress, ...run } = options;
    // What comes out waits for all that is before it.
    let before: Promise<void> = Promise.resolve();
    const reports = localPeers(workers, board).map(async (peer: Peer, i) => {
      const mine = before;
      let over = (): void => undefined;
      before = new Promise((resolve) => (over = resolve));
      try {
        return await held[i]!.run(
          (unit) => unitInput(config, clip, data, unit),
          peer,
          {
            ...run,
            onProgress: (share) => {
              done[i] = share;
              onProgress?.(done.reduce((a, b) => a + b, 0) / workers);
            },
          },
          async (unit, bytes, y) => {
            await mine;
            await collect(unit, bytes, y);
          },
        );
      } catch (error) {
        board.fail(error);
        throw error;
      } finally {
        over();
      }
    });
    // All have ended before their memory goes.
    const ended = await Promise.allSettled(reports);
    const failed = ended.find((one) => one.status === "rejected");
    if (failed) throw failed.reason;
    return ended.map((one) => (one as PromiseFulfilledResult<WorkerReport>).value);
  } finally {
    release();
  }
}
