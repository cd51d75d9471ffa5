/** The weights of a checkpoint's component as a provider: read by range, as the files have them. */
import { fitsF16, float16Loss, mergeReports, type ConversionReport } from "../files/float16-loss.ts";
import type { SafetensorsDType } from "../files/safetensors-dtype.ts";
import type { Component } from "./checkpoint.ts";
import type { WeightIndex } from "./weight-index.ts";
import { CogwheelError } from "../base/errors.ts";
import type { DType } from "../graph/dtype.ts";
import type { StoredWeight } from "../graph/stored.ts";
import type { WeightProvider } from "../run/weight-provider.ts";

/** Memory that pieces are read into, kept from one weight to the next: fresh memory costs as much as reading into it. */
const spare: Uint8Array<ArrayBuffer>[] = [];

/** Spare memory of at least so many bytes: another source may have read smaller pieces. */
function spareOf(bytes: number): Uint8Array<ArrayBuffer> {
  const index = spare.findIndex((memory) => memory.byteLength >= bytes);
  return index < 0 ? new Uint8Array(bytes) : spare.splice(index, 1)[0]!;
}

export interface KeptInF32 {
  readonly name: string;
  readonly overflow: number;
  readonly underflow: number;
}

export class ComponentWeights implements WeightProvider {
  readonly #kept = new Map<string, KeptInF32>();

  private constructor(
    readonly index: WeightIndex,
    readonly dtype: "f32" | "f16",
  ) {}

  /**
   * With f16 storage every matrix that the file holds in a wider type is looked at once: those that would lose more than
   * rounding (see `fitsF16`) stay f32 and are named in `kept`. What is f16 in the file loses nothing and is not looked at.
   */
  static async open(
    component: Component,
    dtype: "f32" | "f16",
    options: { signal?: AbortSignal; onProgress?: (done: number) => void } = {},
  ): Promise<ComponentWeights> {
    if (!component.weights)
      throw new CogwheelError("checkpoint", `${component.name} must have weights, got none; the checkpoint is incomplete`);
    const weights = new ComponentWeights(component.weights, dtype);
    if (dtype === "f32") return weights;
    const wide = [...component.weights].filter(([, { dtype: from, shape }]) => shape.length > 1 && from !== "F16").map(([name]) => name);
    for (const [i, name] of wide.entries()) {
      const reports: ConversionReport[] = [];
      for await (const { bytes, from } of weights.#pieces(name, options.signal)) reports.push(float16Loss(bytes, from));
      const report = mergeReports(reports);
      if (!fitsF16(report)) weights.#kept.set(name, { name, overflow: report.overflow, underflow: report.underflow });
      options.onProgress?.((i + 1) / wide.length);
    }
    return weights;
  }

  /** Weights that do not fit f16 and are stored as f32. */
  get kept(): KeptInF32[] {
    return [...this.#kept.values()];
  }

  /** Vectors (biases, norms) are always f32: they are small, and sums start from them. */
  type(name: string): DType {
    const entry = this.index.get(name);
    return this.dtype === "f16" && entry && entry.shape.length > 1 && !this.#kept.has(this.index.resolve(name)!) ? "f16" : "f32";
  }

  stored(name: string): StoredWeight {
    return this.index.stored(name);
  }

  #entry(name: string) {
    const entry = this.index.get(name);
    if (!entry)
      throw new CogwheelError(
        "checkpoint",
        `a weight must be in the checkpoint to be read, got ${name}; check it with expectWeights first`,
      );
    return entry;
  }

  /** The weight's bytes, whole rows at a time. The next are read while these are worked on; each is good until the next is asked for. */
  async *#pieces(name: string, signal?: AbortSignal): AsyncGenerator<{ bytes: Uint8Array<ArrayBuffer>; from: SafetensorsDType }> {
    const { shape, start, end } = this.#entry(name);
    const rows = shape[0] ?? 1;
    const rowBytes = Math.max(1, (end - start) / rows);
    const step = Math.max(1, Math.floor(this.index.pieceBytes / rowBytes));
    const memory =
      this.index.readsInto && rows > step && step * rowBytes <= this.index.pieceBytes
        ? [0, 1].map(() => spareOf(this.index.pieceBytes))
        : [];
    const read = (row: number) => {
      const range = shape.length ? { rowStart: row, rowEnd: Math.min(rows, row + step) } : {};
      const piece = this.index.read(name, range, memory[(row / step) % 2]);
      piece.catch(() => undefined); // of one that is not asked for any more
      return piece;
    };
    let next = rows > 0 ? read(0) : undefined;
    try {
      for (let row = 0; next; row += step) {
        signal?.throwIfAborted();
        const { bytes, dtype: from } = await next;
        next = row + step < rows ? read(row + step) : undefined;
        yield { bytes, from };
      }
    } finally {
      // Given up half-way, the next piece may still be on its way into it.
      void Promise.allSettled([next]).then(() => void spare.push(...memory.slice(0, Math.max(0, 2 - spare.length))));
    }
  }
}

/** What a user is told of weights that were kept. */
export function keptMessage(component: string, kept: readonly KeptInF32[]): string {
  const list = kept
    .slice(0, 8)
    .map((k) => `${k.name} (${k.overflow} too large, ${k.underflow} too small)`)
    .join(", ");
  return (
    `[checkpoint] ${kept.length} of ${component}'s weights do not fit f16 and stay f32: ` +
    `${list}${kept.length > 8 ? ` and ${kept.length - 8} more` : ""}`
  );
}
