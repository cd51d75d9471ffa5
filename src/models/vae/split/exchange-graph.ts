/** A worker's part of a clip as a graph, and what of it others read and give while it runs. */
import type { DType } from "../../../graph/dtype.ts";
import type { Graph } from "../../../graph/graph.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import type { DecodedFormat } from "../batches.ts";

/** What a clip is, for all of its workers. */
export interface PieceOptions {
  readonly part: "encode" | "decode";
  readonly batch: number;
  /** Of what goes in. */
  readonly height: number;
  readonly width: number;
  readonly format: DecodedFormat;
  readonly dtype: "f32" | "f16";
}

/** The border of an activation that goes to (comes from) another worker. */
export interface Halo {
  /** Its name, for both of them. */
  readonly region: string;
  /** The other one; a worker itself, where what it gives is for its own next turn. */
  readonly worker: number;
  /** So many turns later than the giver the other one takes it; default 0. */
  readonly later?: number;
  /** What a node makes (an input of the graph); its last axis holds positions of `padded` channels. */
  readonly tensor: Tensor;
  readonly padded: number;
  /** Without padding. */
  readonly channels: number;
  readonly dtype: DType;
}

/** A norm whose frame batch several workers share. */
export interface SharedNorm {
  readonly region: string;
  /** The workers that hold parts of the batch, in the order in which their records are merged. */
  readonly holders: readonly number[];
  /** Records of the worker's own parts [outer, own, 3, C padded]. */
  readonly own: Tensor;
  /** Input with those of all [outer, all, 3, C padded]. */
  readonly all: Tensor;
  /** How often the workers' records follow each other: once a batch entry, or once a frame of each. */
  readonly outer: number;
}

export interface ExchangeGraph {
  readonly graph: Graph;
  readonly gives: readonly Halo[];
  readonly takes: readonly Halo[];
  readonly norms: readonly SharedNorm[];
}
