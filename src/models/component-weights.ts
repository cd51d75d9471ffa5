/** The weights of a checkpoint's component as a provider: read by range, converted to the type they are stored in. */
import { fitsF16, mergeReports, toFloat16, toFloat32, type ConversionReport } from "../checkpoint/convert.ts";
import type { Component } from "../checkpoint/checkpoint.ts";
import type { WeightIndex } from "../checkpoint/weights.ts";
import { CogwheelError } from "../errors.ts";
import { elements, type DType } from "../graph/graph.ts";
import type { WeightProvider } from "../graph/weights.ts";

/** Largest piece that is read and converted at once. */
const PIECE_BYTES = 64 << 20;

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
   * rounding (see `fitsF16`) stay f32 and are named in `kept`.
   */
  static async open(component: Component, dtype: "f32" | "f16", options: { signal?: AbortSignal; onProgress?: (done: number) => void } = {}): Promise<ComponentWeights> {
    if (!component.weights) throw new CogwheelError("checkpoint", `${component.name} must have weights, got none; the checkpoint is incomplete`);
    const weights = new ComponentWeights(component.weights, dtype);
    if (dtype === "f32") return weights;
    const wide = [...component.weights].filter(([, { dtype: from, shape }]) => shape.length > 1 && from !== "F16").map(([name]) => name);
    for (const [i, name] of wide.entries()) {
      const reports: ConversionReport[] = [];
      for await (const { bytes, from } of weights.#pieces(name, options.signal)) reports.push(toFloat16(bytes, from).report);
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

  async read(name: string, dtype: DType, signal?: AbortSignal): Promise<Float32Array | Uint16Array> {
    const out = dtype === "f16" ? new Uint16Array(elements(this.#entry(name).shape)) : new Float32Array(elements(this.#entry(name).shape));
    let at = 0;
    for await (const { bytes, from } of this.#pieces(name, signal)) {
      const piece = dtype === "f16" ? toFloat16(bytes, from).data : toFloat32(bytes, from);
      out.set(piece, at);
      at += piece.length;
    }
    return out;
  }

  #entry(name: string) {
    const entry = this.index.get(name);
    if (!entry) throw new CogwheelError("checkpoint", `a weight must be in the checkpoint to be read, got ${name}; check it with expectWeights first`);
    return entry;
  }

  async *#pieces(name: string, signal?: AbortSignal) {
    const { shape, dtype: from, start, end } = this.#entry(name);
    const rows = shape[0] ?? 1;
    const rowBytes = Math.max(1, (end - start) / rows);
    const step = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
    for (let row = 0; row < rows; row += step) {
      signal?.throwIfAborted();
      const part = shape.length ? { rowStart: row, rowEnd: Math.min(rows, row + step) } : {};
      yield { bytes: (await this.index.read(name, part)).bytes, from };
    }
  }
}

/** What a user is told of weights that were kept. */
export function keptMessage(component: string, kept: readonly KeptInF32[]): string {
  const list = kept.slice(0, 8).map((k) => `${k.name} (${k.overflow} too large, ${k.underflow} too small)`).join(", ");
  return `[checkpoint] ${kept.length} of ${component}'s weights do not fit f16 and stay f32: ${list}${kept.length > 8 ? ` and ${kept.length - 8} more` : ""}`;
}
