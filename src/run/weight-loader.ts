/**
 * Brings weights onto the device in the layout that a plan's kernels read: their bytes as they are stored go through the uploader's mapped
 * buffers, and kernels there convert, pack, add changes and count what f16 loses.
 */
import { allOver } from "../base/all-over.ts";
import { CogwheelError } from "../base/errors.ts";
import { linkedAbort } from "../base/linked-abort.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { FILL_BYTES, Uploader } from "../gpu/uploader.ts";
import { elements } from "../graph/dtype.ts";
import { PANEL } from "../graph/packing.ts";
import { FORMATS, type StoredWeight } from "../graph/stored.ts";
import type { WeightRequest } from "../plan/weight-request.ts";
import { LossCounters, type LossCount } from "./loss-counters.ts";
import { isCopy, Unpacker, type UnpackPart } from "./unpacker.ts";
import type { WeightProvider } from "./weight-provider.ts";

/** So many weights share a buffer of counters. */
const COUNTED = 256;

export class WeightLoader implements Disposable {
  readonly #unpacker: Unpacker;
  readonly #uploader: Uploader;
  readonly #counters: LossCounters[] = [];
  /** Places of weights that are counted, and how many were given. A weight is counted the first time that it is brought as a whole. */
  readonly #counted = new Map<string, number>();
  readonly #told = new Set<string>();
  #places = 0;

  /** @param bytes how much will be read at all, where that is known */
  constructor(
    private readonly gpu: Gpu,
    private readonly provider: WeightProvider,
    bytes = Infinity,
  ) {
    this.#unpacker = new Unpacker(gpu);
    this.#uploader = new Uploader(gpu, bytes, () => this.#unpacker.settle());
  }

  /**
   * Brings the weights of a request, one behind the other, to byte `at` of a buffer. They are there for work that is submitted after it
   * resolves. Any number may be under way; their reads begin in the order of the calls, as many at once as the uploader has room for.
   * What is given up resolves to an error when nothing of it is under way any more: the buffer may be destroyed then.
   */
  async load(request: WeightRequest, to: GPUBuffer, signal?: AbortSignal, at = 0): Promise<void> {
    const stored = this.#parts(request);
    using over = linkedAbort(signal);
    const under: Promise<void>[] = [];
    let firstRow = 0;
    const counted = stored.filter(({ name, weight }) => this.#isCounted(name, weight, request)).map(({ name }) => name);
    for (const { weight, rows, rowBytes, name } of stored) {
      const part = this.#common(request, weight, name, counted.includes(name), to, at);
      for (let row = 0; row < rows; ) {
        const count = Math.min(rows - row, rowsAtOnce(weight, rowBytes));
        under.push(this.#put(weight, { ...part, firstRow: firstRow + row, rows: count, storedRow: row }, rowBytes, over.signal));
        row += count;
      }
      firstRow += rows;
    }
    for (const one of under) one.catch((error: unknown) => over.abort(error));
    await allOver(under).catch(() => {
      for (const name of counted) this.#counted.delete(name);
      throw over.signal.reason;
    });
  }

  /**
   * What f16 lost of weights that were loaded and were not told of before, by name. Those that are f16 where they are stored lose nothing
   * and are left out, as are all for a provider that judges none.
   */
  async losses(signal?: AbortSignal): Promise<Map<string, LossCount>> {
    const names = [...this.#counted].filter(([name]) => !this.#told.has(name));
    if (names.length === 0) return new Map();
    const counts = (await Promise.all(this.#counters.map((counters) => counters.read(signal)))).flat();
    for (const [name] of names) this.#told.add(name);
    return new Map(names.map(([name, place]) => [name, counts[place]!]));
  }

  #isCounted(name: string, { format }: StoredWeight, { dtype }: WeightRequest): boolean {
    return dtype === "f16" && format !== "f16" && this.provider.judge !== undefined && !this.#counted.has(name);
  }

  /** The weights of a request, checked, in rows of what it asks for. */
  #parts({ names, shape }: WeightRequest) {
    if (elements(shape) === 0)
      throw new CogwheelError("weights", `a weight must have values to be loaded, got the shape [${shape.join(", ")}]; leave it out`);
    const width = elements(shape.slice(1));
    const parts = names.map((name) => {
      const weight = this.provider.stored(name);
      const { values, bytes } = FORMATS[weight.format];
      return { name, weight, rows: elements(weight.shape) / width, rowBytes: (width / values) * bytes };
    });
    const got = parts.reduce((sum, { rows }) => sum + rows * width, 0);
    if (got !== elements(shape) || parts.some(({ rows }) => !Number.isInteger(rows)))
      throw new CogwheelError(
        "weights",
        `${names.join(" + ")} must have shape [${shape.join(", ")}], got ${got} values; check the checkpoint against its config`,
      );
    return parts;
  }

  #common(
    { shape, packing, dtype }: WeightRequest,
    { format, scale }: StoredWeight,
    name: string,
    counted: boolean,
    to: GPUBuffer,
    at: number,
  ) {
    const changes = this.provider.changes?.(name);
    return {
      format,
      shape,
      packing,
      dtype: dtype as "f32" | "f16",
      to,
      at,
      ...(scale ? { scale } : {}),
      ...(changes?.length ? { changes } : {}),
      ...(counted ? { loss: this.#place(name) } : {}),
    };
  }

  #place(name: string): GPUBufferBinding {
    const index = this.#places++;
    this.#counted.set(name, index);
    const counters = (this.#counters[Math.floor(index / COUNTED)] ??= new LossCounters(this.gpu, COUNTED));
    return counters.place(index % COUNTED);
  }

  #put(weight: StoredWeight, part: Omit<UnpackPart, "from">, rowBytes: number, signal: AbortSignal): Promise<void> {
    const { storedRow = 0, rows } = part;
    const nowhere = { buffer: part.to, offset: 0 };
    return this.#uploader.put(
      {
        bytes: rows * rowBytes,
        fill: (memory) => weight.read(storedRow * rowBytes, memory, signal),
        read: !isCopy({ ...part, from: nowhere }),
        use: (encoder, from) => this.#unpacker.unpack(encoder, { ...part, from }),
      },
      signal,
    );
  }

  /** Once nothing is under way. */
  [Symbol.dispose](): void {
    this.#uploader[Symbol.dispose]();
    this.#unpacker[Symbol.dispose]();
    for (const counters of this.#counters) counters[Symbol.dispose]();
  }
}

/** Whole panels, or whole blocks of a vector. */
function rowsAtOnce({ format }: StoredWeight, rowBytes: number): number {
  const unit = Math.max(PANEL, FORMATS[format].values);
  return Math.max(unit, Math.floor(FILL_BYTES / rowBytes / unit) * unit);
}
