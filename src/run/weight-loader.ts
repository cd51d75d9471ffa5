/**
 * Brings weights onto the device in the layout that a plan's kernels read: their bytes as they are stored go through the uploader's mapped
 * buffers, and kernels there convert, pack, add changes and count what f16 loses. Of what is quantized as it is read the values come, and
 * kernels make the blocks first.
 */
import { allOver } from "../base/all-over.ts";
import { CogwheelError } from "../base/errors.ts";
import { linkedAbort } from "../base/linked-abort.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { FILL_BYTES, Uploader } from "../gpu/uploader.ts";
import { elements } from "../graph/dtype.ts";
import { PANEL } from "../graph/packing.ts";
import { FORMATS, type StoredWeight } from "../graph/stored.ts";
import { isQuantizedFrom, isQuantizedTo, type QuantizedFrom, type QuantizedTo } from "../plan/quantize-weight.ts";
import type { WeightRequest } from "../plan/weight-request.ts";
import { LossCounters, type LossCount } from "./loss-counters.ts";
import { Quantizer } from "./quantizer.ts";
import { isCopy, Unpacker, type UnpackPart } from "./unpacker.ts";
import type { WeightProvider } from "./weight-provider.ts";

/** So many weights share a buffer of counters. */
const COUNTED = 256;

/**
 * Bytes of blocks that are made before they are unpacked, where a panel does not have more: part of what loading is said to take beside the
 * uploader's buffers (`loadingBytes` of weight-store.ts).
 */
const BLOCKS_BYTES = 128 << 10;

/** A weight, and how much of it there is in rows of a request. */
interface Part {
  readonly name: string;
  readonly weight: StoredWeight;
  /** What is read: the weight, or the values that the device makes its blocks of. */
  readonly source: StoredWeight;
  readonly rows: number;
  /** Rows that are read together: a panel, or a block of a vector. */
  readonly unit: number;
  /** Bytes of a row, of the weight and of what is read. */
  readonly rowBytes: number;
  readonly sourceRowBytes: number;
}

export class WeightLoader implements Disposable {
  readonly #unpacker: Unpacker;
  readonly #quantizer: Quantizer;
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
    private readonly bytes = Infinity,
  ) {
    this.#unpacker = new Unpacker(gpu);
    this.#quantizer = new Quantizer(gpu);
    this.#uploader = new Uploader(gpu, bytes, () => {
      this.#unpacker.settle();
      this.#quantizer.settle();
    });
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
    for (const part of stored) {
      const { weight, source, rows, name } = part;
      const common = this.#common(request, weight, name, counted.includes(name), to, at);
      // Blocks are made of values that may be eight times as many bytes: no more come at once than there is room for.
      const most = source === weight ? FILL_BYTES : Math.min(FILL_BYTES, this.bytes);
      for (let row = 0; row < rows; ) {
        const count = Math.min(rows - row, rowsAtOnce(part.unit, part.sourceRowBytes, most));
        under.push(this.#put(part, { ...common, firstRow: firstRow + row, rows: count, storedRow: row }, over.signal));
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
  #parts({ names, shape }: WeightRequest): Part[] {
    if (elements(shape) === 0)
      throw new CogwheelError("weights", `a weight must have values to be loaded, got the shape [${shape.join(", ")}]; leave it out`);
    const width = elements(shape.slice(1));
    const parts = names.map((name) => {
      const weight = this.provider.stored(name);
      const source = valuesOf(weight, shape.length > 1 ? width : elements(weight.shape)) ?? weight;
      const bytesOfRow = ({ format }: StoredWeight): number => (width / FORMATS[format].values) * FORMATS[format].bytes;
      const rows = elements(weight.shape) / width;
      const unit = shape.length > 1 ? PANEL : Math.max(PANEL, FORMATS[weight.format].values);
      return { name, weight, source, rows, unit, rowBytes: bytesOfRow(weight), sourceRowBytes: bytesOfRow(source) };
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

  #put(of: Part, part: Omit<UnpackPart, "from">, signal: AbortSignal): Promise<void> {
    const { weight, source, sourceRowBytes } = of;
    const { storedRow = 0, rows } = part;
    const nowhere = { buffer: part.to, offset: 0 };
    return this.#uploader.put(
      {
        bytes: rows * sourceRowBytes,
        fill: (memory) => source.read(storedRow * sourceRowBytes, memory, signal),
        read: !isCopy({ ...part, from: nowhere }),
        use: (encoder, from) =>
          source === weight ? this.#unpacker.unpack(encoder, { ...part, from }) : this.#unpackQuantized(encoder, of, part, from),
      },
      signal,
    );
  }

  /** Encodes what makes blocks of values and unpacks those, some rows at a time: all share the little memory that the blocks take. */
  async #unpackQuantized(
    encoder: GPUCommandEncoder,
    { source, unit, rowBytes, sourceRowBytes }: Part,
    part: Omit<UnpackPart, "from">,
    { buffer, offset }: Required<GPUBufferBinding>,
  ): Promise<void> {
    const { format, firstRow, rows, storedRow = 0 } = part;
    const most = Math.min(rows, rowsAtOnce(unit, rowBytes, BLOCKS_BYTES));
    const blocks = this.#quantizer.room(most * rowBytes);
    for (let row = 0; row < rows; row += most) {
      const count = Math.min(most, rows - row);
      await this.#quantizer.encode(encoder, buffer, blocks, {
        from: source.format as QuantizedFrom,
        to: format as QuantizedTo,
        blocks: (count * rowBytes) / FORMATS[format].bytes,
        at: { x: offset + row * sourceRowBytes, y: 0 },
      });
      await this.#unpacker.unpack(encoder, {
        ...part,
        firstRow: firstRow + row,
        rows: count,
        storedRow: storedRow + row,
        from: { buffer: blocks, offset: 0 },
      });
    }
  }

  /** Once nothing is under way. */
  [Symbol.dispose](): void {
    this.#uploader[Symbol.dispose]();
    this.#unpacker[Symbol.dispose]();
    this.#quantizer[Symbol.dispose]();
    for (const counters of this.#counters) counters[Symbol.dispose]();
  }
}

/** The values that the device makes a weight's blocks of, where it does; rows that are no whole blocks are refused as they are unpacked. */
function valuesOf({ plain, format }: StoredWeight, width: number): StoredWeight | undefined {
  return plain && isQuantizedFrom(plain.format) && isQuantizedTo(format) && width % FORMATS[format].values === 0 ? plain : undefined;
}

/** As many rows as `most` bytes hold, in whole units, and one unit at least. */
const rowsAtOnce = (unit: number, rowBytes: number, most: number): number => Math.max(unit, Math.floor(most / rowBytes / unit) * unit);
