/**
 * A GGUF file, as llama.cpp and what grew around it store models: metadata by key, a table of tensors with their types, shapes and places,
 * then their bytes. Files come from strangers: every length, count, type and offset is checked before anything is made of it, and of the
 * tensors' bytes none is read here. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
import type { CogwheelError } from "../base/errors.ts";
import { KIND_BYTES, kindRule } from "../sources/file-kind.ts";
import { checkpointError, type CheckpointSource } from "../sources/source.ts";
import { ALIGNMENT, ARRAY, BOOL, GGML_TYPES, NUMBERS, READABLE_TYPES, STRING } from "./gguf-types.ts";

/** Where one tensor lies. */
export interface GgufTensor {
  /** As ggml calls its type: F16, Q4_0, Q6_K. */
  readonly type: string;
  /** Row-major as in a state dict, so in the reverse order of the file's own. */
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file, and one past the last. */
  readonly start: number;
  readonly end: number;
}

/** A value of the metadata. Lists (of a tokenizer's words, as a rule) are read over. */
export type GgufValue = string | number | boolean;

/** A file's header, checked. */
export interface GgufFile {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** By name, in the order of their bytes. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** What of a header is read first: those without a tokenizer are smaller. */
const FIRST = 256 << 10;
/** A tokenizer of a million words is far smaller. */
const MOST = 64 << 20;
const MOST_DIMENSIONS = 8;
const MOST_NAME = 4096;
const AGAIN = "the file is damaged, download it again";

type Fail = (rule: string, cause?: unknown) => CogwheelError;

/** Thrown where the header goes on beyond what was read of it. */
const MORE = Symbol("more of the header");

/** Whether a file begins as a GGUF file does. */
export const isGguf = (head: Uint8Array): boolean => String.fromCharCode(...head.subarray(0, 4)) === "GGUF";

/** Reads and checks the header of `path`. */
export async function openGguf(source: CheckpointSource, path: string): Promise<GgufFile> {
  const size = await source.size(path);
  const fail: Fail = (rule, cause) => checkpointError(source, path, rule, cause);
  for (let most = FIRST; ; most *= 4) {
    const bytes = await source.read(path, 0, Math.min(size, most));
    try {
      return { path, ...parse(new Header(bytes, size, fail), fail) };
    } catch (error) {
      if (error !== MORE) throw error;
      if (most >= MOST) throw fail(`a header may hold at most ${MOST} bytes, got more; ${AGAIN}`);
    }
  }
}

/** Reads a header from front to back. What would lie beyond the file is refused, what lies beyond the bytes that are there asks for more. */
class Header {
  at = 0;
  readonly #view: DataView;
  readonly #text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  constructor(
    readonly bytes: Uint8Array<ArrayBuffer>,
    readonly size: number,
    readonly fail: Fail,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Goes over so many bytes. @param what they are, for messages */
  skip(bytes: number, what: string): number {
    const at = this.at;
    if (bytes > this.size - at)
      throw this.fail(
        `${what} must lie inside the file, got ${bytes} bytes of ${this.size - at} that are left; ` +
          "the file is truncated or damaged, download it again",
      );
    if (bytes > this.bytes.length - at) throw MORE;
    this.at = at + bytes;
    return at;
  }

  u32(what: string): number {
    return this.#view.getUint32(this.skip(4, what), true);
  }

  /** A whole number of 64 bits that JavaScript holds. */
  u64(what: string): number {
    const value = this.#view.getBigUint64(this.skip(8, what), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.fail(`${what} must be below 2^53, got ${value}; ${AGAIN}`);
    return Number(value);
  }

  /** How many of something follow, each of at least `least` bytes. */
  count(what: string, least: number): number {
    const count = this.u64(what);
    const most = Math.floor((this.size - this.at) / least);
    if (count > most)
      throw this.fail(
        `${what} must fit in the file, got ${count}, of at most ${most}; the file is truncated or damaged, download it again`,
      );
    return count;
  }

  string(what: string, most = MOST): string {
    const length = this.u64(`the length of ${what}`);
    if (length > most) throw this.fail(`${what} may have at most ${most} bytes, got ${length}; ${AGAIN}`);
    const at = this.skip(length, what);
    try {
      return this.#text.decode(this.bytes.subarray(at, at + length));
    } catch (cause) {
      throw this.fail(`${what} must be UTF-8, got bytes that are not; ${AGAIN}`, cause);
    }
  }

  /** A value of the metadata; undefined for a list. */
  value(key: string): GgufValue | undefined {
    const type = this.u32(`the type of ${key}`);
    if (type !== ARRAY) return this.scalar(type, key);
    const of = this.u32(`the type of ${key}'s items`);
    const bytes = NUMBERS.get(of)?.bytes ?? (of === BOOL ? 1 : undefined);
    const count = this.count(`the number of ${key}'s items`, bytes ?? 8);
    if (bytes !== undefined) this.skip(count * bytes, key);
    else if (of === STRING) for (let i = 0; i < count; i++) this.skip(this.u64(`the length of an item of ${key}`), `an item of ${key}`);
    else throw this.fail(`${key}: a list must hold numbers, booleans or texts, got the type ${of}; ${AGAIN}`);
    return undefined;
  }

  scalar(type: number, key: string): GgufValue {
    if (type === STRING) return this.string(key);
    const number = NUMBERS.get(type);
    if (number) return number.read(this.#view, this.skip(number.bytes, key));
    if (type !== BOOL) throw this.fail(`${key}: the type of a value must be a number from 0 to 12, got ${type}; ${AGAIN}`);
    const value = this.bytes[this.skip(1, key)]!;
    if (value > 1) throw this.fail(`${key}: a boolean must be 0 or 1, got ${value}; ${AGAIN}`);
    return value === 1;
  }
}

function parse(header: Header, fail: Fail): Omit<GgufFile, "path"> {
  if (header.size < 24 || !isGguf(header.bytes)) {
    const head = header.bytes.subarray(0, KIND_BYTES);
    throw fail(
      kindRule(head, "a GGUF file") ?? `a GGUF file must begin with GGUF and a header, got ${header.size} bytes without; download it again`,
    );
  }
  header.skip(4, "the signature");
  const version = header.u32("the version");
  if (version !== 2 && version !== 3)
    throw fail(
      version >= 1 << 24
        ? `a GGUF file must be little-endian, got one that is not (version ${version}); take the little-endian file`
        : `the version of a GGUF file must be 2 or 3, got ${version}; convert it with a newer llama.cpp`,
    );
  const tensorCount = header.count("the number of tensors", 24);
  const keyCount = header.count("the number of metadata keys", 13);
  const metadata = new Map<string, GgufValue>();
  const keys = new Set<string>();
  for (let i = 0; i < keyCount; i++) {
    const key = header.string("a metadata key", 65535);
    if (keys.has(key)) throw fail(`a metadata key must be there once, got ${JSON.stringify(key)} twice; ${AGAIN}`);
    keys.add(key);
    const value = header.value(key);
    if (value !== undefined) metadata.set(key, value);
  }
  const alignment = keys.has("general.alignment") ? metadata.get("general.alignment") : ALIGNMENT;
  if (
    typeof alignment !== "number" ||
    !Number.isInteger(alignment) ||
    alignment < 1 ||
    alignment > 65536 ||
    (alignment & (alignment - 1)) !== 0
  )
    throw fail(`general.alignment must be a power of two up to 65536, got ${JSON.stringify(alignment)}; ${AGAIN}`);
  return { metadata, tensors: tensorsOf(header, tensorCount, alignment, fail) };
}

/** The table of tensors, which must lie end to end, each from a multiple of `alignment` on. */
function tensorsOf(header: Header, count: number, alignment: number, fail: Fail): Map<string, GgufTensor> {
  const found = new Map<string, Omit<GgufTensor, "start" | "end"> & { bytes: number; offset: number }>();
  for (let i = 0; i < count; i++) {
    const name = header.string("a tensor's name", MOST_NAME);
    if (found.has(name)) throw fail(`a tensor must be there once, got ${JSON.stringify(name)} twice; ${AGAIN}`);
    const dimensions = header.u32(`the number of ${name}'s dimensions`);
    if (dimensions > MOST_DIMENSIONS) throw fail(`${name}: a tensor may have ${MOST_DIMENSIONS} dimensions, got ${dimensions}; ${AGAIN}`);
    const shape = Array.from({ length: dimensions }, () => header.u64(`a dimension of ${name}`)).reverse();
    const type = header.u32(`the type of ${name}`);
    const offset = header.u64(`the offset of ${name}`);
    found.set(name, { ...sized(name, type, shape, fail), shape, offset });
  }
  const up = (at: number): number => Math.ceil(at / alignment) * alignment;
  const dataStart = up(header.at);
  const tensors = new Map<string, GgufTensor>();
  let [end, before] = [0, "the table"];
  for (const [name, { type, shape, bytes, offset }] of [...found].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (offset !== up(end))
      throw fail(
        `${name}: tensors must lie end to end, got ${name} at byte ${offset} of the data where ${before} ends at ${end} ` +
          `(aligned to ${alignment}: ${up(end)}); ${AGAIN}`,
      );
    end = offset + bytes;
    before = name;
    if (dataStart + end > header.size)
      throw fail(
        `${name}: the tensor must end within the file's ${header.size} bytes, got bytes ${dataStart + offset} to ${dataStart + end}; ` +
          "the file is truncated, finish or repeat the download",
      );
    tensors.set(name, { type, shape, start: dataStart + offset, end: dataStart + end });
  }
  if (tensors.size > 0 && header.size > up(dataStart + end))
    throw fail(`the last tensor must end at the end of the file, got ${header.size - dataStart - end} bytes after ${before}; ${AGAIN}`);
  return tensors;
}

/** Type and bytes of a tensor, whose rows must be whole blocks. */
function sized(name: string, id: number, shape: readonly number[], fail: Fail): { type: string; bytes: number } {
  const type = GGML_TYPES.get(id);
  if (!type?.values || !type.bytes)
    throw fail(
      `${name}: tensors must be of the types ${[...READABLE_TYPES.keys()].join(", ")}, ` +
        `got ${type?.name ?? `the type number ${id}`}; take a file of one of these`,
    );
  const columns = shape.at(-1) ?? 1;
  if (columns % type.values)
    throw fail(`${name}: a row must be whole ${type.name} blocks of ${type.values} values, got rows of ${columns}; ${AGAIN}`);
  const blocks = shape.reduce((n, length) => n * length, 1) / type.values;
  // What is beyond 2^53 cannot lie in a file; below it the product is exact.
  if (!Number.isSafeInteger(blocks * type.bytes)) throw fail(`${name}: a tensor must fit in its file, got [${shape.join(", ")}]; ${AGAIN}`);
  return { type: type.name, bytes: blocks * type.bytes };
}
