/**
 * Where the values of the reference's tensors lie in a tensor of the engine: laid out by head, several in one, padded with zeros. A layout
 * is one map that is read in both directions. What a module takes is packed, and what it gives is unpacked; of the gradients it is the
 * other way round: cotangents of outputs are packed and gradients of inputs unpacked, by the same layouts.
 */
import { CogwheelError } from "../../base/errors.ts";
import { elements, type DType } from "../../graph/dtype.ts";
import type { HostTensor } from "./reference-case.ts";

/** A tensor of the reference in one of the engine. */
export interface PartLayout {
  /** The reference's shape. */
  readonly shape: readonly number[];
  /** Where the value at these coordinates lies in the engine's tensor; the list is used again. Default: in order. */
  readonly at?: (coordinates: readonly number[]) => number;
  /** Values that lie before all of it. Default 0. */
  readonly first?: number;
}

export class Layout {
  constructor(
    /** The engine's. */
    readonly shape: readonly number[],
    /** By the reference's names. */
    readonly parts: Readonly<Record<string, PartLayout>>,
    /** Storage type in the engine. */
    readonly dtype: DType = "f32",
  ) {}

  /** A tensor that lies as the reference's does. */
  static inOrder(name: string, shape: readonly number[], dtype: DType = "f32"): Layout {
    return new Layout(shape, { [name]: { shape } }, dtype);
  }

  /** Does one of the names belong to it? */
  holds(names: { has(name: string): boolean }): boolean {
    return Object.keys(this.parts).some((name) => names.has(name));
  }

  /** The engine's values; zeros for padding and for tensors that are not there. `what` is the word for them in errors. */
  pack(tensors: Pick<ReadonlyMap<string, HostTensor>, "get">, what: string): Float32Array {
    const out = new Float32Array(elements(this.shape));
    for (const [name, part] of Object.entries(this.parts)) {
      const tensor = tensors.get(name);
      if (!tensor) continue;
      if (tensor.shape.join() !== part.shape.join())
        throw new CogwheelError(
          "reference",
          `${what}${name} must be [${part.shape.join(", ")}], got [${tensor.shape.join(", ")}]; make the case again`,
        );
      places(part, (from, to) => void (out[to] = tensor.data[from]!));
    }
    return out;
  }

  /** The reference's tensors, of the engine's values. */
  unpack(data: Float32Array): Record<string, HostTensor> {
    return Object.fromEntries(
      Object.entries(this.parts).map(([name, part]) => {
        const values = new Float32Array(elements(part.shape));
        places(part, (to, from) => void (values[to] = data[from]!));
        return [name, { shape: part.shape, data: values }];
      }),
    );
  }
}

/** Calls `each` with the place of every value in the reference's tensor and in the engine's. */
function places({ shape, at, first = 0 }: PartLayout, each: (reference: number, engine: number) => void): void {
  const size = elements(shape);
  const coordinates = shape.map(() => 0);
  for (let i = 0; i < size; i++) {
    each(i, first + (at ? at(coordinates) : i));
    for (let axis = shape.length - 1; axis >= 0 && ++coordinates[axis]! === shape[axis]; axis--) coordinates[axis] = 0;
  }
}
