/**
 * PyTorch's own files (.pt, .pth, .bin) of tensors by name, of both kinds: the zip archive of today, and the stream of before 1.6. Their
 * pickles are read as data (pickle.ts); tensors are read later, by range, as from safetensors.
 * Format: torch/serialization.py.
 */
import { brief } from "../../base/brief.ts";
import { elements } from "../../base/shape.ts";
import { KIND_BYTES, kindRule } from "../../sources/file-kind.ts";
import { checkpointError, type CheckpointSource } from "../../sources/source.ts";
import { readerOf, type SafetensorsFile, type TensorInfo } from "../safetensors.ts";
import { DTYPE_BYTES, type SafetensorsDType } from "../safetensors-dtype.ts";
import { type Fail, MORE, PickleReader } from "./pickle.ts";
import { Global, PersistentId, PickleDict, PickleList, type PickleValue, ToldTensor } from "./values.ts";
import { readZip } from "./zip.ts";

/** Tensors of a file by name. */
export type TorchFile = Pick<SafetensorsFile, "path" | "tensors" | "read">;

const STORAGES: Readonly<Record<string, SafetensorsDType>> = {
  DoubleStorage: "F64",
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
};

/** 0x1950a86a20f9469cfc6c, by which the stream of before 1.6 begins. */
const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
/** Pickles hold names and places; those of ten thousand tensors take a megabyte or two. */
const FIRST_PICKLE = 1 << 20;
const MOST_PICKLE = 64 << 20;
const MOST_DIMENSIONS = 8;
const AGAIN = "the file is damaged, download it again";

/** A storage, as a pickle refers to it. */
interface Storage {
  readonly key: string;
  readonly dtype: SafetensorsDType;
  /** Elements. */
  readonly count: number;
}

/** Where a storage's elements begin in the file, and how many there are. */
interface Place {
  readonly start: number;
  readonly count: number;
}

/** Is it one of PyTorch's files, by its first bytes? A safetensors file whose header is as long as a pickle's first bytes say has a brace. */
export const isTorchFile = (head: Uint8Array): boolean =>
  isZip(head) || (head[0] === 0x80 && head[1]! >= 2 && head[1]! <= 5 && head[8] !== 0x7b);
const isZip = (head: Uint8Array): boolean => head[0] === 0x50 && head[1] === 0x4b && head[2] === 3 && head[3] === 4;

/** Reads and checks what `path` says of its tensors; nothing in it is run. */
export async function openTorch(source: CheckpointSource, path: string): Promise<TorchFile> {
  const size = await source.size(path);
  const fail: Fail = (rule, cause) => checkpointError(source, path, rule, cause);
  const head = await source.read(path, 0, Math.min(size, KIND_BYTES));
  if (!isTorchFile(head))
    throw fail(
      kindRule(head, "a PyTorch file") ?? `must be a PyTorch file, a zip archive or a pickle, got ${head.length} other bytes; ${AGAIN}`,
    );
  const tensors = await (isZip(head) ? fromZip : fromStream)(source, path, size, fail);
  return { path, tensors, read: readerOf(source, path, tensors, fail) };
}

type Tensors = ReadonlyMap<string, TensorInfo>;

/** `<folder>/data.pkl`, and a file for each storage beside it. */
async function fromZip(source: CheckpointSource, path: string, size: number, fail: Fail): Promise<Tensors> {
  const archive = await readZip(source, path, size, fail);
  const pickles = [...archive.names].filter((name) => /^(?:[^/]+\/)?data\.pkl$/.test(name));
  if (pickles.length !== 1) throw fail(`a PyTorch file must have one data.pkl, got ${pickles.length}; give a file that torch.save wrote`);
  const folder = pickles[0]!.slice(0, -"data.pkl".length);
  const order = await archive.find(`${folder}byteorder`);
  if (order) {
    const text = new TextDecoder().decode(await source.read(path, order.start, Math.min(order.end, order.start + 16)));
    if (text !== "little") throw fail(`tensors must be little-endian, got ${brief(text)}; save the file on another machine`);
  }
  const { start, end } = (await archive.find(pickles[0]!))!;
  if (end - start > MOST_PICKLE) throw fail(`data.pkl may hold at most ${MOST_PICKLE} bytes, got ${end - start}; ${AGAIN}`);
  const value = new PickleReader(await source.read(path, start, end), end - start, fail, start).read();
  const found = storagesOf(value, fail);
  const places = new Map<string, Place>();
  for (const { key, dtype, count } of found.values()) {
    const entry = await archive.find(`${folder}data/${key}`);
    if (!entry)
      throw fail(`every storage must be in the archive, got none of the name ${JSON.stringify(`${folder}data/${key}`)}; ${AGAIN}`);
    const held = (entry.end - entry.start) / DTYPE_BYTES[dtype];
    if (held < count) throw fail(`storage ${JSON.stringify(key)} must have ${count} values, got ${held}; ${AGAIN}`);
    places.set(key, { start: entry.start, count });
  }
  return tensorsOf(value, places, fail);
}

/** Three pickles that say what it is, one of the tensors, one of the storages' order, then each storage: a count and its values. */
async function fromStream(source: CheckpointSource, path: string, size: number, fail: Fail): Promise<Tensors> {
  for (let most = FIRST_PICKLE; ; most *= 8) {
    const bytes = await source.read(path, 0, Math.min(size, most));
    const reader = new PickleReader(bytes, size, fail);
    let parts: PickleValue[];
    try {
      parts = [reader.read()];
      if (parts[0] !== MAGIC)
        throw fail(
          `a pickle must be one of PyTorch's, which begins with its own number, got ${brief(String(parts[0]))}; give a state dict`,
        );
      for (let i = 1; i < 5; i++) parts.push(reader.read());
    } catch (error) {
      if (error !== MORE) throw error;
      if (most >= MOST_PICKLE) throw fail(`pickles may hold at most ${MOST_PICKLE} bytes together, got more; ${AGAIN}`);
      continue;
    }
    const [, protocol, system, value, order] = parts as [PickleValue, PickleValue, PickleValue, PickleValue, PickleValue];
    if (protocol !== PROTOCOL) throw fail(`PyTorch's protocol must be ${PROTOCOL}, got ${brief(String(protocol))}; save the file again`);
    if (!(system instanceof PickleDict) || system.entries.get("little_endian") !== true)
      throw fail("tensors must be little-endian, got others; save the file on another machine");
    if (!(order instanceof PickleList) || !order.items.every((key) => typeof key === "string"))
      throw fail(`the storages' order must be a list of their keys, got another value; ${AGAIN}`);
    const found = storagesOf(value, fail);
    const places = new Map<string, Place>();
    let at = reader.at;
    for (const key of order.items as string[]) {
      const storage = found.get(key);
      if (!storage || places.has(key))
        throw fail(`every storage must belong to tensors and come once, got ${JSON.stringify(key)}; ${AGAIN}`);
      if (at + 8 > size) throw fail(`storage ${JSON.stringify(key)} must lie in the file, got its end at byte ${size}; ${TRUNCATED}`);
      const count = new DataView((await source.read(path, at, at + 8)).buffer).getBigInt64(0, true);
      if (count !== BigInt(storage.count))
        throw fail(`storage ${JSON.stringify(key)} must have ${storage.count} values, got ${count} at byte ${at}; ${AGAIN}`);
      places.set(key, { start: at + 8, count: storage.count });
      at += 8 + storage.count * DTYPE_BYTES[storage.dtype];
      if (at > size) throw fail(`storage ${JSON.stringify(key)} must lie in the file, got its end at byte ${at} of ${size}; ${TRUNCATED}`);
    }
    return tensorsOf(value, places, fail);
  }
}
const TRUNCATED = "the file is truncated, download it again";

/** Named tensors of a state dict, or of what a training run saved one in. */
function namedTensors(value: PickleValue, fail: Fail): [string, ToldTensor][] {
  const inner = value instanceof PickleDict ? (value.entries.get("state_dict") ?? value) : value;
  if (!(inner instanceof PickleDict)) throw fail("a file must hold a dict of tensors by name, got another value; save model.state_dict()");
  return [...inner.entries].map(([name, tensor]): [string, ToldTensor] => {
    if (typeof name !== "string" || !(tensor instanceof ToldTensor))
      throw fail(
        `a dict must hold tensors alone, by name, got ${tensor instanceof ToldTensor ? "a tensor" : "another value"} ` +
          `under ${brief(typeof name === "string" ? name : typeof name)}; save model.state_dict()`,
      );
    return [name, tensor];
  });
}

const isCount = (value: PickleValue | undefined): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** (`storage`, type, key, location, count) */
function storageOf(of: PickleValue, fail: Fail): Storage {
  const [kind, type, key, , count, view] = of instanceof PersistentId ? of.parts : [];
  const dtype = type instanceof Global ? STORAGES[type.name] : undefined;
  if (kind !== "storage" || !dtype || typeof key !== "string" || !isCount(count) || (view !== undefined && view !== null))
    throw fail(`a tensor must lie in a whole storage of a known type, with a key and a count, got another; save model.state_dict()`);
  return { key, dtype, count };
}

/** Storages by key; one that is told in two ways is refused. */
function storagesOf(value: PickleValue, fail: Fail): Map<string, Storage> {
  const found = new Map<string, Storage>();
  for (const [name, tensor] of namedTensors(value, fail)) {
    const storage = storageOf(tensor.storage, fail);
    const before = found.get(storage.key);
    if (before && (before.dtype !== storage.dtype || before.count !== storage.count))
      throw fail(`${JSON.stringify(name)}: a storage has one type and count, got two of ${JSON.stringify(storage.key)}; ${AGAIN}`);
    found.set(storage.key, storage);
  }
  return found;
}

function tensorsOf(value: PickleValue, places: ReadonlyMap<string, Place>, fail: Fail): Tensors {
  const tensors = new Map<string, TensorInfo>();
  for (const [name, tensor] of namedTensors(value, fail)) {
    const { key, dtype } = storageOf(tensor.storage, fail);
    const place = places.get(key);
    const { offset, size: shape, stride } = tensor;
    if (!place) throw fail(`${JSON.stringify(name)} must lie in a storage of the file, got ${JSON.stringify(key)}; ${AGAIN}`);
    if (!isCount(offset) || !isShape(shape) || !isShape(stride) || shape.length !== stride.length)
      throw fail(`${JSON.stringify(name)} must have a place, a shape and strides of whole numbers, got others; ${AGAIN}`);
    const values = elements(shape);
    if (!Number.isSafeInteger(values) || offset + values > place.count)
      throw fail(
        `${JSON.stringify(name)} must lie in its storage of ${place.count} values, got [${shape.join(", ")}] from ${offset} on; ${AGAIN}`,
      );
    let step = 1;
    for (let axis = shape.length - 1; axis >= 0; step *= shape[axis]!, axis--)
      if (shape[axis] !== 1 && values > 0 && stride[axis] !== step)
        throw fail(
          `${JSON.stringify(name)} must lie in order, got strides [${stride.join(", ")}] of [${shape.join(", ")}]; save it contiguous`,
        );
    const start = place.start + offset * DTYPE_BYTES[dtype];
    tensors.set(name, { dtype, shape, start, end: start + values * DTYPE_BYTES[dtype] });
  }
  return tensors;
}

const isShape = (value: PickleValue): value is readonly number[] =>
  Array.isArray(value) && value.length <= MOST_DIMENSIONS && (value as PickleValue[]).every(isCount);
