/** A clip over workers: all of them in this process, on one device, each with a piece and memory of its own; or one of those elsewhere. */
import type { Gpu } from "../../../gpu/gpu.ts";
import { becomesPixels } from "../../../ops/pixels.ts";
import { fitting } from "../../../run/misfit.ts";
import type { WeightStore } from "../../../run/weight-store.ts";
import type { VaeConfig } from "../config.ts";
import { amongPeers, type Peer } from "./peer.ts";
import { PieceRun, type PieceRunOptions, type WorkerReport } from "./run.ts";
import { shareOf, type Collect, type Share, type SplitClip } from "./share.ts";

/** What the workers of a clip compute with. */
export interface ClipTools {
  readonly gpu: Gpu;
  readonly weights: WeightStore;
  readonly config: VaeConfig;
}

/** Runs a clip over workers, wherever they are; gives what comes out in the order of the clip. */
export type ClipRunner = (
  clip: SplitClip,
  data: Float32Array,
  options: PieceRunOptions,
  collect: Collect,
) => Promise<readonly WorkerReport[]>;

/** What a worker asks and tells, of parts of the clip by their numbers. */
export interface PieceCalls {
  input(part: number): Float32Array;
  output(part: number, bytes: ArrayBuffer, shape: readonly number[]): void | Promise<void>;
}

const prepare = ({ gpu, weights }: ClipTools, share: Share, worker: number, { signal }: PieceRunOptions): Promise<PieceRun> =>
  PieceRun.create(gpu, weights, share.graphs(worker, weights.provider), signal ? { signal } : {});

/** All turns of a worker, one after another. */
async function work(run: PieceRun, share: Share, peer: Peer, calls: PieceCalls, options: PieceRunOptions): Promise<WorkerReport> {
  const { onProgress, ...each } = options;
  const turns = share.turns(peer.index);
  for (const [turn, { graph, parts }] of turns.entries()) {
    const inputs = Object.fromEntries(parts.map(({ part, input }) => [input, calls.input(part)]));
    const told = onProgress ? { onProgress: (done: number) => onProgress((turn + done) / turns.length) } : {};
    await run.run(graph, turn, inputs, peer, { ...each, ...told });
    for (const { part, output } of parts) {
      const { bytes, y } = await run.read(graph, output, options.signal);
      await calls.output(part, bytes, y.shape);
    }
  }
  return run.report(peer.index, share.pieces[peer.index]!);
}

/** Runs one worker's piece of a clip, with this device, among its peers. */
export async function runPiece(
  tools: ClipTools,
  clip: SplitClip,
  peer: Peer,
  calls: PieceCalls,
  options: PieceRunOptions,
): Promise<WorkerReport> {
  const share = shareOf(tools.config, clip, peer.count);
  const checkFinite = options.checkFinite || (clip.format === "sample" ? false : becomesPixels);
  using run = await fitting(() => prepare(tools, share, peer.index, options));
  return await work(run, share, peer, calls, { ...options, checkFinite });
}

/** Runs a clip over so many virtual workers, all at once. */
export async function runClip(
  tools: ClipTools,
  workers: number,
  clip: SplitClip,
  data: Float32Array,
  options: PieceRunOptions,
  collect: Collect,
): Promise<WorkerReport[]> {
  const share = shareOf(tools.config, clip, workers);
  const held: PieceRun[] = [];
  const release = (): void => {
    for (const run of held.splice(0)) run[Symbol.dispose]();
  };
  try {
    await fitting(async () => {
      for (let worker = 0; worker < workers; worker++) held.push(await prepare(tools, share, worker, options));
    }, release);
    const done = new Array<number>(workers).fill(0);
    const { onProgress, ...each } = options;
    const give = share.collector(collect);
    return await amongPeers(workers, (peer) => {
      const i = peer.index;
      const told = (share: number): void => {
        done[i] = share;
        onProgress?.(done.reduce((a, b) => a + b, 0) / workers);
      };
      const calls: PieceCalls = {
        input: (part) => share.input(i, part, data),
        output: (part, bytes, shape) => give(i, part, bytes, shape),
      };
      return work(held[i]!, share, peer, calls, { ...each, onProgress: told });
    });
  } finally {
    release();
  }
}
