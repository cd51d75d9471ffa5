/** What a training run and its worker processes tell each other. Arrays go behind a message, named in a list that goes before them. */
import type { WorkerReport } from "../../../models/vae/split/run.ts";
import type { PieceRecipe, PieceWork } from "./types.ts";

/** How a worker opens its device, as JSON. */
export interface PieceOpening {
  readonly recipe: PieceRecipe;
  readonly index: number;
  readonly workers: number;
  readonly device: Readonly<Record<string, unknown>>;
}

export type ToTrainingWorker =
  /** A {@link PieceOpening} follows, as JSON. */
  | { readonly type: "open" }
  /** Arrays follow, with the shapes and types of weights. */
  | { readonly type: "weights" }
  /** Inputs follow. */
  | { readonly type: "run"; readonly work: PieceWork }
  /** Its bytes follow. */
  | { readonly type: "region"; readonly from: number; readonly region: string };

export type FromTrainingWorker =
  | { readonly type: "ready" }
  | { readonly type: "given" }
  | { readonly type: "warning"; readonly text: string }
  /** Its bytes follow. */
  | { readonly type: "put"; readonly to: number; readonly region: string }
  /** Outputs follow. */
  | { readonly type: "result"; readonly report: WorkerReport; readonly flops: number };

/** An array, and what is said of it. */
export interface NamedArray {
  readonly name: string;
  readonly data: Float32Array;
  readonly shape?: readonly number[];
  readonly type?: "f32" | "f16";
}

/** The length of a list, the list as JSON, then the values of its arrays. */
export function packArrays(arrays: readonly NamedArray[]): Uint8Array[] {
  const list = new TextEncoder().encode(JSON.stringify(arrays.map(({ data, ...of }) => ({ ...of, length: data.length }))));
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, list.byteLength, true);
  return [head, list, ...arrays.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength))];
}

export function unpackArrays(bytes: Uint8Array<ArrayBuffer>): NamedArray[] {
  const length = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  const list = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length))) as (Omit<NamedArray, "data"> & { length: number })[];
  let at = 4 + length;
  return list.map(({ length: count, ...of }) => {
    const data = new Float32Array(bytes.slice(at, at + 4 * count).buffer);
    at += 4 * count;
    return { ...of, data };
  });
}
