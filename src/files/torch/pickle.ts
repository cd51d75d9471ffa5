/**
 * Reads the pickles of PyTorch's files without running anything. A pickle is a program for a small machine with a stack; of its
 * instructions those that make numbers, texts, tuples, lists and dicts are carried out here, and of what it may call only what a state
 * dict is made of, which is made here as data. Everything else is refused by name, with where it stands.
 * The machine: Python's Lib/pickletools.py.
 */
import type { CogwheelError } from "../../base/errors.ts";
import { Global, PersistentId, PickleDict, PickleList, type PickleValue, ToldTensor } from "./values.ts";

export type Fail = (rule: string, cause?: unknown) => CogwheelError;

/** Thrown where a pickle goes on beyond the bytes that are there, but not beyond its file. */
export const MORE = Symbol("more of the pickle");

/** What a pickle may refer to, and what is made of a call of it; null for what cannot be called: a type of values. */
const CALLS: Readonly<Record<string, ((args: readonly PickleValue[]) => PickleValue | undefined) | null>> = {
  "collections.OrderedDict": orderedDict,
  "torch._utils._rebuild_tensor": ([storage, offset, size, stride]) => told(storage, offset, size, stride),
  "torch._utils._rebuild_tensor_v2": ([storage, offset, size, stride]) => told(storage, offset, size, stride),
  "torch._utils._rebuild_parameter": ([data]) => (data instanceof ToldTensor ? data : undefined),
  ...Object.fromEntries(
    ["Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"].map((type) => [`torch.${type}Storage`, null]),
  ),
};

function told(storage?: PickleValue, offset?: PickleValue, size?: PickleValue, stride?: PickleValue): ToldTensor | undefined {
  if (storage === undefined || offset === undefined || size === undefined || stride === undefined) return undefined;
  return new ToldTensor(storage, offset, size, stride);
}

/** Of nothing, or of a list of pairs, as Python 2 wrote it. */
function orderedDict(args: readonly PickleValue[]): PickleDict | undefined {
  const dict = new PickleDict();
  if (args.length === 0) return dict;
  if (args.length > 1 || !(args[0] instanceof PickleList)) return undefined;
  for (const pair of args[0].items) {
    const [key, value] = Array.isArray(pair) ? (pair as PickleValue[]) : pair instanceof PickleList ? pair.items : [];
    if (key === undefined || value === undefined) return undefined;
    dict.entries.set(key, value);
  }
  return dict;
}

/** Names of instructions that are not carried out, for messages. */
const REFUSED: Readonly<Record<number, string>> = {
  0x69: "INST, which makes an object of a class",
  0x6f: "OBJ, which makes an object of a class",
  0x81: "NEWOBJ, which makes an object of a class",
  0x92: "NEWOBJ_EX, which makes an object of a class",
  0x82: "EXT1, which calls what is registered",
  0x83: "EXT2, which calls what is registered",
  0x84: "EXT4, which calls what is registered",
  0x50: "PERSID, an id as a line of text",
  0x96: "BYTEARRAY8",
  0x97: "NEXT_BUFFER",
  0x98: "READONLY_BUFFER",
  0x8f: "EMPTY_SET",
  0x90: "ADDITEMS",
  0x91: "FROZENSET",
};

/** A mark on the stack: where a tuple, a list's or a dict's items begin. */
const MARK = Symbol("mark");
type Entry = PickleValue | typeof MARK;

const MOST_LINE = 256;
/** An instruction of one byte makes a dict, which takes hundreds. A tensor is told by some twenty values. */
const MOST_VALUES = 1 << 20;

/** Reads one pickle at a time from `bytes`, which are the beginning of what the file has from `base` on. */
export class PickleReader {
  at = 0;
  readonly #view: DataView;
  #stack: Entry[] = [];
  #memo = new Map<number, PickleValue>();
  #values = 0;

  /**
   * @param size bytes that the file has from `base` on: what would go beyond is refused, what goes beyond `bytes` alone asks for
   * {@link MORE}
   */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly size: number,
    private readonly fail: Fail,
    private readonly base = 0,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The value of the pickle that begins here. */
  read(): PickleValue {
    this.#stack = [];
    this.#memo = new Map();
    this.#values = 0;
    for (;;) {
      const start = this.at;
      const code = this.#u8();
      if (code === 0x2e) {
        const value = this.#pop(start);
        if (this.#stack.length > 0) throw this.#wrong(start, `a pickle must end with one value, got ${this.#stack.length} more`);
        return value;
      }
      const made = this.#step(code, start);
      if (made === undefined) continue;
      this.#count(start);
      this.#stack.push(made);
    }
  }

  #count(start: number): void {
    if (++this.#values > MOST_VALUES) throw this.#wrong(start, `a pickle may make and keep ${MOST_VALUES} values at most, got more`);
  }

  #wrong(at: number, rule: string): CogwheelError {
    return this.fail(`${rule} at byte ${this.base + at}; this is no file of tensors alone, or it is damaged`);
  }

  #skip(count: number): number {
    const at = this.at;
    if (count > this.size - at)
      throw this.fail(
        `a pickle must end inside its file, got ${count} bytes of ${this.size - at} that are left at byte ${this.base + at}; ` +
          "the file is truncated or damaged, download it again",
      );
    if (count > this.bytes.length - at) throw MORE;
    this.at = at + count;
    return at;
  }

  #u8(): number {
    return this.#view.getUint8(this.#skip(1));
  }
  #u16(): number {
    return this.#view.getUint16(this.#skip(2), true);
  }
  #u32(): number {
    return this.#view.getUint32(this.#skip(4), true);
  }

  /** A text of so many bytes. @param encoding Python 2's texts are bytes */
  #text(length: number, encoding: "utf-8" | "latin1", start: number): string {
    const at = this.#skip(length);
    try {
      return new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(this.bytes.subarray(at, at + length));
    } catch {
      throw this.#wrong(start, "a text must be UTF-8, got bytes that are not");
    }
  }

  /** A line of text. */
  #line(start: number): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0 || end - this.at > MOST_LINE) {
      if (end < 0 && this.bytes.length - this.at <= MOST_LINE && this.bytes.length < this.size) throw MORE;
      throw this.#wrong(start, `a name may have ${MOST_LINE} bytes at most, got a longer one`);
    }
    const text = this.#text(end - this.at, "utf-8", start);
    this.at = end + 1;
    return text;
  }

  #pop(start: number): PickleValue {
    const value = this.#stack.pop();
    if (value === undefined || value === MARK) throw this.#wrong(start, "an instruction must find its operands, got an empty stack");
    return value;
  }

  /** What lies above the last mark, which is taken too. */
  #marked(start: number): PickleValue[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) throw this.#wrong(start, "an instruction must find its mark, got none");
    const items = this.#stack.splice(mark + 1) as PickleValue[];
    this.#stack.pop();
    return items;
  }

  #top<T extends PickleDict | PickleList>(type: new () => T, start: number): T {
    const value = this.#stack.at(-1);
    if (!(value instanceof type))
      throw this.#wrong(start, `items must be of a ${type === (PickleDict as unknown) ? "dict" : "list"}, got none`);
    return value;
  }

  #fill(items: readonly PickleValue[], start: number): void {
    const dict = this.#top(PickleDict, start);
    if (items.length % 2) throw this.#wrong(start, "a dict's items must be pairs, got one without a value");
    for (let i = 0; i < items.length; i += 2) dict.entries.set(items[i]!, items[i + 1]!);
  }

  #global(module: string, name: string, start: number): Global {
    // Python 2 had other names for modules of its own; those of torch are the same.
    if (!Object.hasOwn(CALLS, `${module}.${name}`))
      throw this.#wrong(start, `a pickle may refer to ${Object.keys(CALLS).join(", ")} alone, got ${JSON.stringify(`${module}.${name}`)}`);
    return new Global(module, name);
  }

  #reduce(start: number): PickleValue {
    const args = this.#pop(start);
    const of = this.#pop(start);
    const call = of instanceof Global ? CALLS[String(of)] : undefined;
    const value = call && Array.isArray(args) ? call(args as PickleValue[]) : undefined;
    if (value === undefined)
      throw this.#wrong(
        start,
        `a call must be of what makes tensors and ordered dicts, with their arguments, got ${of instanceof Global ? of : "another"}`,
      );
    return value;
  }

  #get(key: number, start: number): PickleValue {
    const value = this.#memo.get(key);
    if (value === undefined) throw this.#wrong(start, `what is called back must have been kept, got number ${key}`);
    return value;
  }

  #put(key: number, start: number): void {
    const value = this.#pop(start);
    this.#count(start);
    this.#memo.set(key, value);
    this.#stack.push(value);
  }

  #integer(length: number): number | bigint {
    const at = this.#skip(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[at + i]!);
    if (length > 0 && this.bytes[at + length - 1]! > 127) value -= 1n << BigInt(8 * length);
    return value >= -(2n ** 53n) && value <= 2n ** 53n ? Number(value) : value;
  }

  /** Carries out an instruction. @returns what it puts on the stack, if anything */
  #step(code: number, start: number): Entry | undefined {
    switch (code) {
      case 0x80: {
        const protocol = this.#u8();
        if (protocol > 5) throw this.#wrong(start, `a pickle's protocol must be 5 at most, got ${protocol}`);
        return undefined;
      }
      case 0x95: // FRAME: a length that says nothing more
        this.#skip(8);
        return undefined;
      case 0x28:
        return MARK;
      case 0x30: // POP
        this.#pop(start);
        return undefined;
      case 0x4e:
        return null;
      case 0x88:
        return true;
      case 0x89:
        return false;
      case 0x4a:
        return this.#view.getInt32(this.#skip(4), true);
      case 0x4b:
        return this.#u8();
      case 0x4d:
        return this.#u16();
      case 0x8a:
        return this.#integer(this.#u8());
      case 0x47:
        return this.#view.getFloat64(this.#skip(8), false);
      case 0x55:
        return this.#text(this.#u8(), "latin1", start);
      case 0x54:
        return this.#text(this.#u32(), "latin1", start);
      case 0x8c:
        return this.#text(this.#u8(), "utf-8", start);
      case 0x58:
        return this.#text(this.#u32(), "utf-8", start);
      case 0x29:
        return [];
      case 0x85:
      case 0x86:
      case 0x87: {
        const items = Array.from({ length: code - 0x84 }, () => this.#pop(start)).reverse();
        return items;
      }
      case 0x74:
        return this.#marked(start);
      case 0x5d:
        return new PickleList();
      case 0x6c: {
        const list = new PickleList();
        for (const item of this.#marked(start)) list.items.push(item);
        return list;
      }
      case 0x61: {
        const value = this.#pop(start);
        this.#top(PickleList, start).items.push(value);
        return undefined;
      }
      case 0x65: {
        const items = this.#marked(start);
        const list = this.#top(PickleList, start);
        for (const item of items) list.items.push(item);
        return undefined;
      }
      case 0x7d:
        return new PickleDict();
      case 0x64: {
        const items = this.#marked(start);
        this.#stack.push(new PickleDict());
        this.#fill(items, start);
        return undefined;
      }
      case 0x73: {
        const value = this.#pop(start);
        const key = this.#pop(start);
        this.#fill([key, value], start);
        return undefined;
      }
      case 0x75:
        this.#fill(this.#marked(start), start);
        return undefined;
      case 0x71:
        this.#put(this.#u8(), start);
        return undefined;
      case 0x72:
        this.#put(this.#u32(), start);
        return undefined;
      case 0x94:
        this.#put(this.#memo.size, start);
        return undefined;
      case 0x68:
        return this.#get(this.#u8(), start);
      case 0x6a:
        return this.#get(this.#u32(), start);
      case 0x63:
        return this.#global(this.#line(start), this.#line(start), start);
      case 0x93: {
        const [name, module] = [this.#pop(start), this.#pop(start)];
        if (typeof name !== "string" || typeof module !== "string") throw this.#wrong(start, "a name must be text, got none");
        return this.#global(module, name, start);
      }
      case 0x51: {
        const id = this.#pop(start);
        if (!Array.isArray(id)) throw this.#wrong(start, "what is called by an id must be a storage, got another id");
        return new PersistentId(id as PickleValue[]);
      }
      case 0x52:
        return this.#reduce(start);
      case 0x62: {
        // BUILD: attributes of an ordered dict, such as the versions of a model's modules, are not needed.
        this.#pop(start);
        this.#top(PickleDict, start);
        return undefined;
      }
      default: {
        const name = REFUSED[code] ?? `code 0x${code.toString(16).padStart(2, "0")}`;
        throw this.#wrong(start, `a pickle's instructions must be those that make data, got ${name}`);
      }
    }
  }
}
