/**
 * Turns weights as they are stored (src/graph/stored.ts), in a buffer on the device, into what kernels read: converts, packs, adds
 * low-rank changes, and counts what f16 loses, by kernels/weights/.
 */
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import { bytesOf, elements } from "../graph/dtype.ts";
import { packedBytes, padTo, type Packing } from "../graph/packing.ts";
import { FORMATS, type Format } from "../graph/stored.ts";
import { checkUnpacking, unpackDispatches } from "../plan/unpack-weight.ts";
import type { Unpacking } from "../plan/unpacking.ts";
import type { LowRank } from "./low-rank.ts";
import { bindSteps, encodeStep, type Step } from "./steps.ts";

export type { LowRank };

/** Rows of a stored weight that become rows of a packed one. Parts of a weight may come in any order, and meet at any row. */
export interface UnpackPart {
  /** The rows' bytes as they are stored; a binding's offset need not be aligned to more than 4 bytes. */
  readonly from: GPUBufferBinding;
  readonly format: Format;
  /** Of the stored weight: one number, or one a row. */
  readonly scale?: Float32Array;
  /** Of the whole packed weight. Names that are joined are one taller matrix. */
  readonly shape: readonly number[];
  /** Where the rows lie in the packed weight, and how many there are; of a vector, whose rows are its values, values. */
  readonly firstRow: number;
  readonly rows: number;
  /** Row of the stored weight that the part begins with, for `scale` and `changes`. Default 0. */
  readonly storedRow?: number;
  readonly packing: Packing;
  readonly dtype: "f32" | "f16";
  /** The packed weight is at byte `at` of it, a multiple of 16, up to a multiple of 16. */
  readonly to: GPUBuffer;
  readonly at: number;
  /** Counters (`LossCounters`) that take what f16 loses, of values with their changes. */
  readonly loss?: GPUBufferBinding;
  /** Are added in f32, one after the other, before a value is rounded. */
  readonly changes?: readonly LowRank[];
}

/** A part whose dispatches can be encoded any number of times. */
export class PreparedUnpack implements Disposable {
  /** @internal by `Unpacker.prepare` */
  constructor(
    private readonly steps: readonly Step[],
    private readonly owned: readonly Disposable[],
  ) {}

  encode(encoder: GPUCommandEncoder): void {
    const pass = encoder.beginComputePass({ label: "unpack" });
    for (const [i, step] of this.steps.entries()) encodeStep(pass, step, this.steps[i - 1]);
    pass.end();
  }

  /** Frees what the part needs beside its buffers; once it is submitted. */
  [Symbol.dispose](): void {
    for (const one of this.owned) one[Symbol.dispose]();
  }
}

/** The tail of bindings that a kernel declares and a part does not use. */
const NOTHING_BYTES = 256;

export class Unpacker implements Disposable {
  /** Bound in place of scales, changes and counters that a part does not have: read-only ones, and one that is written. */
  #nothing: readonly OwnedBuffer[] | undefined;
  #encoded: PreparedUnpack[] = [];
  /** The inner factors of changes, for all parts of a weight. */
  readonly #downs = new Map<readonly LowRank[], { shape: string; buffer: OwnedBuffer }>();

  readonly #replaced: OwnedBuffer[] = [];
  /** Where changes are made before they are added: of all parts, for the queue takes one after the other. The last is the largest. */
  readonly #changes: OwnedBuffer[] = [];

  constructor(private readonly gpu: Gpu) {}

  /**
   * Encodes a part. Its buffers must live until the encoder's commands are submitted, and so must what this keeps beside them: call
   * `settle` then.
   */
  async unpack(encoder: GPUCommandEncoder, part: UnpackPart): Promise<void> {
    if (isCopy(part)) return copy(encoder, part);
    const prepared = await this.#prepare(part, (changes, make) => {
      // A convolution's lie otherwise in another packing.
      const shape = `${part.packing} ${part.shape.slice(1).join()}`;
      const known = this.#downs.get(changes);
      if (known?.shape === shape) return known.buffer;
      const buffer = make();
      if (known) this.#replaced.push(known.buffer);
      this.#downs.set(changes, { shape, buffer });
      return buffer;
    });
    this.#encoded.push(prepared);
    prepared.encode(encoder);
  }

  /** A part that can be encoded at any time, and again; it is the caller's to dispose of. */
  prepare(part: UnpackPart): Promise<PreparedUnpack> {
    return this.#prepare(part);
  }

  /** What `unpack` has encoded has been submitted: frees what it kept. */
  settle(): void {
    for (const one of this.#encoded) one[Symbol.dispose]();
    this.#encoded = [];
    for (const { buffer } of this.#downs.values()) buffer[Symbol.dispose]();
    this.#downs.clear();
    for (const one of this.#replaced.splice(0)) one[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.settle();
    for (const one of [...(this.#nothing ?? []), ...this.#changes.splice(0)]) one[Symbol.dispose]();
    this.#nothing = undefined;
  }

  async #prepare(
    part: UnpackPart,
    shared?: (changes: readonly LowRank[], make: () => OwnedBuffer) => OwnedBuffer,
  ): Promise<PreparedUnpack> {
    const { from, to, scale, storedRow = 0 } = part;
    const changes = part.changes?.length ? part.changes : undefined;
    // Of what is f16 already nothing is lost.
    const loss = part.format === "f16" && !scale && !changes ? undefined : part.loss;
    const rank = changes?.reduce((sum, change) => sum + change.rank, 0) ?? 0;
    // Most pages have no adapter, and never load this.
    const low = changes && (await import("./low-rank.ts"));
    const unpacking: Unpacking = {
      ...geometry(part),
      ...(scale ? { scales: scale.length, scaleRow: storedRow } : {}),
      ...(low ? { rank, changeOf: low.changeOf } : {}),
      loss: loss !== undefined,
    };
    const dispatches = unpackDispatches(unpacking, this.gpu.caps);
    const pipelines = await Promise.all(
      dispatches.map(({ kernel, consts, overrides = {} }) => this.gpu.pipelines.get(kernel, { consts, overrides })),
    );
    const owned: Disposable[] = [];
    const own = (label: string, data: ArrayBufferView): OwnedBuffer => {
      const one = this.gpu.buffer(`unpack.${label}`, data.byteLength, GPUBufferUsage.STORAGE, data);
      owned.push(one);
      return one;
    };
    try {
      const [nothing, written] = this.#placeholders();
      const scales = scale ? own("scale", scale) : nothing;
      const up = low ? own("up", low.stackedUp(changes!, unpacking, storedRow, rank)) : nothing;
      const stackedDown = () => {
        const data = low!.stackedDown(changes!, part, rank);
        return this.gpu.buffer("unpack.down", data.byteLength, GPUBufferUsage.STORAGE, data);
      };
      const down = changes ? (shared?.(changes, stackedDown) ?? stackedDown()) : nothing;
      if (changes && !shared) owned.push(down);
      const change = low ? low.changeBuffer(this.gpu, this.#changes, Math.max(...dispatches.map((one) => one.change))) : nothing;
      const whole = { scales, up, down, change };
      const held = Object.fromEntries(Object.entries(whole).map(([name, { buffer }]) => [name, { buffer }]));
      const sources = dispatches.map(({ params, grid, x, y, bound = {} }, index) => ({
        pipeline: pipelines[index]!,
        resources: {
          x: { buffer: from.buffer, offset: x.offset, size: x.bytes },
          y: { buffer: to, offset: y.offset, size: y.bytes },
          loss: loss ?? { buffer: written.buffer },
          ...held,
          ...Object.fromEntries(Object.entries(bound).map(([name, of]) => [name, held[of]!])),
        },
        params,
        grid,
        index,
      }));
      const { steps, uniforms } = bindSteps(this.gpu, "unpack", sources);
      if (uniforms) owned.push(uniforms);
      return new PreparedUnpack(steps, owned);
    } catch (error) {
      for (const one of owned) one[Symbol.dispose]();
      throw error;
    }
  }

  #placeholders(): readonly [OwnedBuffer, OwnedBuffer] {
    this.#nothing ??= [0, 1].map((i) => this.gpu.buffer(`unpack.nothing${i}`, NOTHING_BYTES, GPUBufferUsage.STORAGE));
    return this.#nothing as readonly [OwnedBuffer, OwnedBuffer];
  }
}

function geometry({ format, shape, firstRow, rows, packing, dtype, from, at }: UnpackPart): Unpacking {
  return { format, shape, firstRow, rows, packing, dtype, from: from.offset ?? 0, at };
}

/** Is a part only moved, so that its buffer need not be one that kernels can read? */
export function isCopy(part: UnpackPart): boolean {
  const { format, shape, firstRow, rows, packing, dtype, from, at, scale, changes, loss } = part;
  // Rows of whole vectors lie end to end; zeros for the rows that panels of 16 have more follow the last.
  const asItIs = packing === "natural" || packing === "vector" || (packing === "row" && shape.length === 2 && shape[1]! % 8 === 0);
  if (format !== dtype || scale || changes?.length || !asItIs) return false;
  if (loss && format !== "f16") return false;
  const width = shape.length > 1 ? elements(shape.slice(1)) : 1;
  return [from.offset ?? 0, at, firstRow * width * bytesOf[dtype], rows * width * bytesOf[dtype]].every((bytes) => bytes % 4 === 0);
}

function copy(encoder: GPUCommandEncoder, part: UnpackPart): void {
  checkUnpacking(geometry(part));
  const { shape, firstRow, rows, packing, dtype, from, to, at } = part;
  const width = (shape.length > 1 ? elements(shape.slice(1)) : 1) * FORMATS[dtype].bytes;
  const end = (firstRow + rows) * width;
  encoder.copyBufferToBuffer(from.buffer, from.offset ?? 0, to, at + firstRow * width, rows * width);
  const whole = padTo(packedBytes(shape, packing, dtype), 16);
  if (firstRow + rows === (shape[0] ?? 1) && whole > end) encoder.clearBuffer(to, at + end, whole - end);
}
