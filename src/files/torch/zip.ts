/**
 * The zip archives that `torch.save` writes: entries are stored as they are, and large ones have sizes of 64 bits. Nothing that a zip says
 * is believed before it was held against the file. Format: PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.3.
 */
import type { CheckpointSource } from "../../sources/source.ts";
import type { Fail } from "./pickle.ts";

/** Where an entry's bytes lie in the file. */
export interface ZipEntry {
  readonly start: number;
  readonly end: number;
}

const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
/** The end's own bytes, and its longest comment. */
const END_BYTES = 22;
const MOST_COMMENT = 65_535;
/** VGG16 has 32 entries; a model of ten thousand tensors has a directory of a megabyte. */
const MOST_DIRECTORY = 64 << 20;
const AGAIN = "the file is truncated or damaged, download it again";

/** An archive's names, and where each one's bytes lie, which its own header is asked for. */
export interface ZipArchive {
  readonly names: Iterable<string>;
  /** Undefined where there is none of that name. */
  find(name: string): Promise<ZipEntry | undefined>;
}

/** Reads and checks an archive's directory. */
export async function readZip(source: CheckpointSource, path: string, size: number, fail: Fail): Promise<ZipArchive> {
  const tailStart = Math.max(0, size - END_BYTES - MOST_COMMENT - 20 - 56);
  const tail = await source.read(path, tailStart, size);
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
  let end = tail.length - END_BYTES;
  while (end >= 0 && view.getUint32(end, true) !== END) end--;
  if (end < 0) throw fail(`a zip archive must end with its directory, got none; ${AGAIN}`);
  let directory = { start: view.getUint32(end + 16, true), bytes: view.getUint32(end + 12, true), count: view.getUint16(end + 10, true) };
  if (end >= 20 && view.getUint32(end - 20, true) === LOCATOR64) {
    const at = number(view.getBigUint64(end - 12, true), fail) - tailStart;
    if (!(at >= 0 && at + 56 <= tail.length) || view.getUint32(at, true) !== END64)
      throw fail(`a zip archive's directory must lie where its end says, got none; ${AGAIN}`);
    const [count, bytes, start] = [32, 40, 48].map((offset) => number(view.getBigUint64(at + offset, true), fail)) as [
      number,
      number,
      number,
    ];
    directory = { start, bytes, count };
  }
  if (directory.start + directory.bytes > size || directory.bytes > MOST_DIRECTORY)
    throw fail(
      `a zip archive's directory must lie in the file, got bytes ${directory.start} to ${directory.start + directory.bytes}; ${AGAIN}`,
    );
  const entries = entriesOf(await source.read(path, directory.start, directory.start + directory.bytes), directory.count, fail);
  return {
    names: entries.keys(),
    async find(name) {
      const told = entries.get(name);
      if (!told) return undefined;
      const { bytes, local } = told;
      if (local + 30 > size) throw fail(`${JSON.stringify(name)} must lie in the file, got byte ${local} of ${size}; ${AGAIN}`);
      const head = await source.read(path, local, local + 30);
      const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
      const start = local + 30 + view.getUint16(26, true) + view.getUint16(28, true);
      if (view.getUint32(0, true) !== LOCAL || start + bytes > size)
        throw fail(`${JSON.stringify(name)} must lie in the file, got bytes ${start} to ${start + bytes} of ${size}; ${AGAIN}`);
      return { start, end: start + bytes };
    },
  };
}

/** What the directory says of each name. */
function entriesOf(bytes: Uint8Array, count: number, fail: Fail): ReadonlyMap<string, { bytes: number; local: number }> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = new Map<string, { bytes: number; local: number }>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== CENTRAL)
      throw fail(`a zip archive's directory must have ${count} entries, got ${i} whole ones; ${AGAIN}`);
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true)) as [
      number,
      number,
      number,
    ];
    const next = at + 46 + nameBytes + extraBytes + commentBytes;
    if (next > bytes.length) throw fail(`a zip archive's directory must have ${count} entries, got ${i} whole ones; ${AGAIN}`);
    const name = new TextDecoder("utf-8").decode(bytes.subarray(at + 46, at + 46 + nameBytes));
    const [flags, method] = [view.getUint16(at + 8, true), view.getUint16(at + 10, true)];
    if (method !== 0 || flags & 1)
      throw fail(
        `entries must be stored as torch.save stores them, got ${JSON.stringify(name)} ${method ? "packed" : "encrypted"}; save it again`,
      );
    const place = sizes64(view, at, at + 46 + nameBytes, extraBytes, fail);
    if (found.has(name)) throw fail(`a zip archive must have a name once, got ${JSON.stringify(name)} twice; do not use it`);
    if (place.bytes !== place.packed) throw fail(`a stored entry has one size, got two of ${JSON.stringify(name)}; ${AGAIN}`);
    found.set(name, { bytes: place.bytes, local: place.local });
    at = next;
  }
  return found;
}

/** Sizes and place of an entry: of 32 bits, or where those are full of 64 in its extra fields, in their order. */
function sizes64(
  view: DataView,
  at: number,
  extra: number,
  extraBytes: number,
  fail: Fail,
): { bytes: number; packed: number; local: number } {
  const told = { bytes: view.getUint32(at + 24, true), packed: view.getUint32(at + 20, true), local: view.getUint32(at + 42, true) };
  for (let field = extra; field + 4 <= extra + extraBytes; ) {
    const [id, length] = [view.getUint16(field, true), view.getUint16(field + 2, true)];
    if (field + 4 + length > extra + extraBytes) break;
    if (id === 1) {
      let value = field + 4;
      for (const key of ["bytes", "packed", "local"] as const) {
        if (told[key] !== 0xffffffff || value + 8 > field + 4 + length) continue;
        told[key] = number(view.getBigUint64(value, true), fail);
        value += 8;
      }
    }
    field += 4 + length;
  }
  return told;
}

function number(value: bigint, fail: Fail): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw fail(`places in a file must be below 2^53, got ${value}; ${AGAIN}`);
  return Number(value);
}
