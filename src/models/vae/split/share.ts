/** How a clip is shared out over workers, in time or in space: what each runs, what goes into it, and what comes out put together again. */
import { elements } from "../../../base/shape.ts";
import type { WeightProvider } from "../../../run/weight-provider.ts";
import { inputChannels, partBatches, takeFrames, vaeGraphs } from "../batches.ts";
import { spatialRatio, type VaeConfig } from "../config.ts";
import type { ExchangeGraph, PieceOptions } from "./exchange-graph.ts";
import { inputOf, outputOf, pieceGraph } from "./piece.ts";
import { stripGraph, stripsOf } from "./strips.ts";
import { batchPieces, piecesOf, unitsOf, type ClipPiece, type Unit } from "./units.ts";

/** A clip [B, C, frames, height, width] and how it is encoded or decoded. */
export interface SplitClip extends PieceOptions {
  readonly frames: number;
  /** Workers hold frames of it, or rows. */
  readonly axis: "time" | "space";
  /**
   * In time: pieces have so many frame batches at most, and workers take one after another in turn, so that no more than one is in a
   * worker's memory. Default: every worker has one piece.
   */
  readonly pieceBatches?: number;
}

/** One run of one of a worker's graphs: some of the clip's parts. */
export interface Turn {
  /** Which graph. */
  readonly graph: number;
  /** What goes into and comes out of each part, by their names in the graph. */
  readonly parts: readonly { readonly part: number; readonly input: string; readonly output: string }[];
}

/** What comes out, in the layout of a graph's output. */
export type Collect = (bytes: ArrayBuffer, y: { readonly shape: readonly number[] }) => void | Promise<void>;

/**
 * A clip over workers. Its parts are what comes out at once: the frames of a unit where time is split, a worker's rows of a batch of frames
 * where space is.
 */
export interface Share {
  /** What a worker holds, in latent frames or rows of latents; of one that has several pieces, from its first to its last. */
  readonly pieces: readonly ClipPiece[];
  graphs(worker: number, provider: Pick<WeightProvider, "type">): ExchangeGraph[];
  turns(worker: number): Turn[];
  /** What goes into a worker's part [B, C, T, H, W], out of the whole clip, and how many values that is. */
  input(worker: number, part: number, data: Float32Array): Float32Array;
  inputSize(worker: number, part: number): number;
  /** Puts parts together and gives them on in the order of the clip, whoever is ready first. */
  collector(collect: Collect): (worker: number, part: number, bytes: ArrayBuffer, shape: readonly number[]) => Promise<void>;
}

/** Throws where there are more workers than there are pieces for. */
export const shareOf = (config: VaeConfig, clip: SplitClip, workers: number): Share =>
  clip.axis === "time" ? inTime(config, clip, workers) : inSpace(config, clip, workers);

function inTime(config: VaeConfig, clip: SplitClip, workers: number): Share {
  const { batch, frames, height, width, part, pieceBatches } = clip;
  const channels = inputChannels(config, part);
  const units = unitsOf(config, part, frames);
  const pieces = pieceBatches === undefined ? piecesOf(units.length, workers) : batchPieces(units, pieceBatches, workers);
  /** The numbers of a worker's pieces, one for each of its turns. */
  const turnsOf = (worker: number): number[] => [...pieces.keys()].filter((piece) => piece % workers === worker);
  const held = (piece: number): readonly Unit[] => units.slice(pieces[piece]!.from, pieces[piece]!.to);
  /** Pieces of which this is the same are computed by one graph. */
  const alike = (piece: number): string => {
    const own = held(piece).map(({ batch, frames, gives, apart }) => [batch - held(piece)[0]!.batch, frames, gives, apart]);
    return JSON.stringify([piece === 0, piece === pieces.length - 1, own]);
  };
  /** The pieces that a worker's graphs are recorded of. */
  const recorded = (worker: number): number[] => [
    ...new Map(
      turnsOf(worker)
        .reverse()
        .map((piece) => [alike(piece), piece]),
    ).values(),
  ];
  return {
    pieces: Array.from({ length: workers }, (_, worker) => {
      const own = turnsOf(worker);
      return { from: pieces[own[0]!]!.from, to: pieces[own.at(-1)!]!.to };
    }),
    graphs: (worker, provider) =>
      recorded(worker).map((piece) => {
        const made = pieceGraph(config, provider, { units, pieces }, piece, clip);
        if (pieceBatches === undefined) return made;
        // Whole frame batches: what is shared is with the pieces before and after alone.
        const at = (other: number) => ({ worker: other % workers, later: Math.floor(other / workers) - Math.floor(piece / workers) });
        return {
          ...made,
          gives: made.gives.map((give) => ({ ...give, ...at(give.worker) })),
          takes: made.takes.map((take) => ({ ...take, worker: take.worker % workers })),
        };
      }),
    turns: (worker) => {
      const pieces = recorded(worker);
      const kinds = pieces.map(alike);
      return turnsOf(worker).map((piece) => {
        const graph = kinds.indexOf(alike(piece));
        const names = held(pieces[graph]!);
        return {
          graph,
          parts: held(piece).map(({ index }, i) => ({ part: index, input: inputOf(names[i]!), output: outputOf(names[i]!) })),
        };
      });
    },
    input: (_, part, data) => takeFrames(data, units[part]!, frames, height * width, batch * channels),
    inputSize: (_, part) => batch * channels * units[part]!.frames * height * width,
    collector(collect) {
      const waiting = new Map<number, { bytes: ArrayBuffer; shape: readonly number[] }>();
      let next = 0;
      return inTurn(async (_, part, bytes, shape) => {
        waiting.set(part, { bytes, shape });
        for (let found = waiting.get(next); found; found = waiting.get(++next)) {
          waiting.delete(next);
          await collect(found.bytes, found);
        }
      });
    },
  };
}

function inSpace(config: VaeConfig, clip: SplitClip, workers: number): Share {
  const { batch, frames, height, width, part } = clip;
  const channels = inputChannels(config, part);
  const perRow = part === "encode" ? spatialRatio(config) : 1;
  const rows = height / perRow;
  const pieces = stripsOf(rows, workers);
  const batches = partBatches(part, frames);
  const strip = (worker: number): { top: number; count: number } => {
    const { from, to } = pieces[worker]!;
    return { top: from * perRow, count: (to - from) * perRow };
  };
  return {
    pieces,
    graphs: (worker, provider) => vaeGraphs(config, provider, clip).graphs.map((graph) => stripGraph(graph, rows, pieces, worker)),
    turns: () => batches.map((_, i) => ({ graph: Math.min(i, 1), parts: [{ part: i, input: "x", output: "y" }] })),
    inputSize: (worker, i) => batch * channels * batches[i]!.frames * strip(worker).count * width,
    input(worker, i, data) {
      const { start, frames: count } = batches[i]!;
      const { top, count: own } = strip(worker);
      const out = new Float32Array(batch * channels * count * own * width);
      let at = 0;
      for (let row = 0; row < batch * channels; row++)
        for (let t = 0; t < count; t++, at += own * width) {
          const from = ((row * frames + start + t) * height + top) * width;
          out.set(data.subarray(from, from + own * width), at);
        }
      return out;
    },
    collector(collect) {
      const waiting = batches.map(() => new Map<number, { bytes: ArrayBuffer; shape: readonly number[] }>());
      let next = 0;
      return inTurn(async (worker, i, bytes, shape) => {
        waiting[i]!.set(worker, { bytes, shape });
        for (; waiting[next]?.size === workers; next++) {
          const strips = Array.from({ length: workers }, (_, w) => waiting[next]!.get(w)!);
          waiting[next]!.clear();
          const whole = stacked(strips, part === "encode" || clip.format === "sample" ? 3 : 2);
          await collect(whole.bytes, whole);
        }
      });
    },
  };
}

/** Calls that come at once, one after another. */
function inTurn<A extends unknown[]>(work: (...args: A) => Promise<void>): (...args: A) => Promise<void> {
  let before: Promise<void> = Promise.resolve();
  return (...args) => (before = before.then(() => work(...args)));
}

/** Strips of a picture, one below the other. @param axis of their rows */
function stacked(
  strips: readonly { bytes: ArrayBuffer; shape: readonly number[] }[],
  axis: number,
): { bytes: ArrayBuffer; shape: number[] } {
  const shape = [...strips[0]!.shape];
  shape[axis] = strips.reduce((n, strip) => n + strip.shape[axis]!, 0);
  const planes = elements(shape.slice(0, axis));
  const out = new Uint8Array(strips.reduce((n, { bytes }) => n + bytes.byteLength, 0));
  let at = 0;
  for (let plane = 0; plane < planes; plane++)
    for (const { bytes } of strips) {
      const own = bytes.byteLength / planes;
      out.set(new Uint8Array(bytes, plane * own, own), at);
      at += own;
    }
  return { bytes: out.buffer, shape };
}
