/** What is unpacked, and the dispatches that do it: the words of unpack-weight.ts and low-rank.ts. */
import type { Capabilities } from "../gpu/capabilities.ts";
import type { Kernel } from "../gpu/kernel.ts";
import type { Packing } from "../graph/packing.ts";
import type { Format } from "../graph/stored.ts";
import type { foldGrid } from "./dispatch.ts";

/** Rows of a weight, and what becomes of them. A vector's rows are its values. */
export interface Unpacking {
  readonly format: Format;
  /** Of the whole packed weight. */
  readonly shape: readonly number[];
  /** Where the part's rows lie in it, and how many there are. */
  readonly firstRow: number;
  readonly rows: number;
  readonly packing: Packing;
  readonly dtype: "f32" | "f16";
  /** Byte of its buffer that the part as it is stored begins at. */
  readonly from: number;
  /** Byte of its buffer that the packed weight begins at, a multiple of 16. */
  readonly at: number;
  /** How many scales there are: one, or one a row, of which the part's first is `scaleRow`. */
  readonly scales?: number;
  readonly scaleRow?: number;
  /** Of the low-rank change that is added (`Unpacker` says how it lies), and what makes it, with kernels that most pages never load. */
  readonly rank?: number;
  readonly changeOf?: ChangeOf;
  /** Is counted what f16 would lose? */
  readonly loss?: boolean;
}

/** A range of a buffer that a dispatch binds. */
export interface Range {
  readonly offset: number;
  readonly bytes: number;
}

export interface UnpackDispatch {
  readonly kernel: Kernel;
  readonly consts: Readonly<Record<string, number>>;
  readonly params: Readonly<Record<string, number>>;
  readonly grid: readonly [number, number, number];
  readonly x: Range;
  readonly y: Range;
  /** Bytes of the memory for a change that it writes or reads, from the beginning on; 0 without one. */
  readonly change: number;
  readonly overrides?: Readonly<Record<string, number>>;
  /** What a binding is that has another name; of the product that makes a change. */
  readonly bound?: Readonly<Record<string, "up" | "down" | "change">>;
}

/** Rows of a part that are changed. */
export interface ChangedRows {
  /** The first of them. */
  readonly row: number;
  readonly rows: number;
  readonly inner: number;
  readonly taps: number;
}

/** What makes the change of some rows, the row of it that theirs begin with, and the bytes that it takes; nothing and 0 without one. */
export interface MadeChange {
  readonly product: readonly UnpackDispatch[];
  readonly changed: number;
  readonly change: number;
}

/** Of low-rank.ts, which is loaded where there is an adapter. */
export type ChangeOf = (part: Unpacking, rows: ChangedRows, caps: Capabilities, fold: typeof foldGrid) => MadeChange;
