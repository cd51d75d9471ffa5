/** What the pickles of PyTorch's files are made of here: data, and nothing that runs. */

/** A name that a pickle refers to, of the fixed list in pickle.ts. */
export class Global {
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}
  toString(): string {
    return `${this.module}.${this.name}`;
  }
}

/** What a pickle calls by an id: (`storage`, type, key, location, count) in PyTorch's files. */
export class PersistentId {
  constructor(readonly parts: readonly PickleValue[]) {}
}

/** A tensor as it is told: where in which storage it lies. Nothing of it is believed before it is checked. */
export class ToldTensor {
  constructor(
    readonly storage: PickleValue,
    readonly offset: PickleValue,
    readonly size: PickleValue,
    readonly stride: PickleValue,
  ) {}
}

/** A dict, ordered or not, in the order in which it was filled; a key that comes again replaces. */
export class PickleDict {
  readonly entries = new Map<PickleValue, PickleValue>();
}

/** A list; a tuple is a frozen array. */
export class PickleList {
  readonly items: PickleValue[] = [];
}

export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly PickleValue[]
  | PickleDict
  | PickleList
  | Global
  | PersistentId
  | ToldTensor;
