/**
 * A safetensors file is 8 bytes of header length (little-endian), a JSON header that gives every tensor a dtype, a
 * shape and a byte range, and the tensors' bytes end to end with nothing between or after them. Files come from
 * strangers: everything in the header is checked before a byte of a tensor is believed.
 * Format: https://github.com/huggingface/safetensors#format
 */
import { brief } from "../base/brief.ts";
import { CogwheelError } from "../base/errors.ts";
import { elements } from "../base/shape.ts";
import { DTYPE_BYTES, isSafetensorsDType } from "./safetensors-dtype.ts";
import { layoutSafetensors } from "./safetensors-layout.ts";
import { KIND_BYTES, kindRule } from "../sources/file-kind.ts";
import type { SafetensorsDType } from "./safetensors-dtype.ts";
import { isObject, scanJson } from "../base/json-scan.ts";
import { checkpointError } from "../sources/source.ts";
import type { CheckpointSource } from "../sources/source.ts";

/** The format's own bound on the header. */
const MAX_HEADER_BYTES = 100_000_000;
/** The header nests object → tensor → list, so anything much deeper is an attack on the parser. */
const MAX_DEPTH = 8;

/** Where one tensor lies in its file. */
export interface TensorInfo {
  dtype: SafetensorsDType;
  shape: readonly number[];
  /** First byte, counted from the start of the file. */
  start: number;
  /** One past the last byte. */
  end: number;
}

/** A tensor's bytes, little-endian and row-major; `bytes` starts at offset 0 of its buffer. */
export interface TensorData {
  dtype: SafetensorsDType;
  shape: readonly number[];
  bytes: Uint8Array<ArrayBuffer>;
}

/** Rows along the first axis, `rowEnd` excluded; all rows unless told. */
export interface RowRange {
  rowStart?: number;
  rowEnd?: number;
}

/** An open safetensors file: its header, checked, and its tensors by range. */
export interface SafetensorsFile {
  readonly path: string;
  /** Tensors by name, in the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The header's `__metadata__`; empty when there is none. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Reads a tensor, or some of its rows, from the source. */
  read(name: string, rows?: RowRange): Promise<TensorData>;
}

/** Reads and checks the header of `path`; tensors are read later, by range. */
export async function openSafetensors(source: CheckpointSource, path: string): Promise<SafetensorsFile> {
  const size = await source.size(path);
  const fail = (rule: string, cause?: unknown): CogwheelError => checkpointError(source, path, rule, cause);
  const { tensors, metadata } = await readHeader(source, path, size, fail);
  return { path, tensors, metadata, read: readerOf(source, path, tensors, fail) };
}

/** Reads tensors by name, or some of their rows, where a header says that they are. */
export const readerOf =
  (source: CheckpointSource, path: string, tensors: ReadonlyMap<string, TensorInfo>, fail: Fail): SafetensorsFile["read"] =>
  async (name, rows) => {
    const info = tensors.get(name);
    if (!info)
      throw fail(`a tensor must be in the file to be read, got the name ${JSON.stringify(name)}; the file holds ${tensors.size} others`);
    return readTensor(source, path, name, info, rows);
  };

/** What cannot be a header is looked at once more, for what else the file may be: a pointer, a pickle, a web page. */
async function readHeader(source: CheckpointSource, path: string, size: number, fail: Fail): Promise<Header> {
  let judged: unknown;
  const text = await headerText(source, path, size, (rule, cause) => (judged = fail(rule, cause)) as CogwheelError).catch(
    async (error: unknown) => {
      if (error !== judged) throw error; // it could not be read
      const head = await source.read(path, 0, Math.min(size, KIND_BYTES)).catch(() => undefined);
      const kind = head && kindRule(head, "a safetensors file");
      throw kind === undefined ? error : fail(kind, error);
    },
  );
  return parseHeader(text.text, text.dataStart, size, fail);
}

async function headerText(source: CheckpointSource, path: string, size: number, fail: Fail): Promise<{ text: string; dataStart: number }> {
  if (size < 8) {
    throw fail(`a safetensors file starts with an 8-byte header length, got a file of ${size} bytes; finish or repeat the download`);
  }
  const prefix = await source.read(path, 0, 8);
  const headerBytes = new DataView(prefix.buffer).getBigUint64(0, true);
  if (headerBytes > BigInt(size - 8)) {
    throw fail(
      `the header must fit in the file, got a header length of ${headerBytes} in ${size} bytes; ` +
        "the file is truncated or is not safetensors, download it again",
    );
  }
  if (headerBytes > BigInt(MAX_HEADER_BYTES)) {
    throw fail(
      `a header may hold at most ${MAX_HEADER_BYTES} bytes, got ${headerBytes}; this is not a safetensors file, download it again`,
    );
  }
  const dataStart = 8 + Number(headerBytes);
  const bytes = await source.read(path, 8, dataStart);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw fail(`the header must be UTF-8, got bytes that are not; ${AGAIN}`, cause);
  }
  if (!/^[ \n\r\t]*\{/.test(text)) {
    throw fail(`the header must start with "{", got ${JSON.stringify(text.slice(0, 16))}; ${AGAIN}`);
  }
  return { text, dataStart };
}

/** Reads a tensor, or some of its rows, at a place that a header gave. */
export async function readTensor(
  source: CheckpointSource,
  path: string,
  name: string,
  info: TensorInfo,
  { rowStart = 0, rowEnd }: RowRange = {},
): Promise<TensorData> {
  const rows = info.shape[0] ?? 1;
  const stop = rowEnd ?? rows;
  if (!Number.isInteger(rowStart) || !Number.isInteger(stop) || rowStart < 0 || rowStart > stop || stop > rows) {
    throw checkpointError(
      source,
      path,
      `${name}: rows must lie within 0 to ${rows}, got ${rowStart} to ${stop}; the tensor's shape is [${info.shape.join(", ")}]`,
    );
  }
  const rowBytes = rows === 0 ? 0 : (info.end - info.start) / rows;
  const bytes = await source.read(path, info.start + rowStart * rowBytes, info.start + stop * rowBytes);
  // A source of an app's own may answer otherwise, and what is missing would be zeros.
  const wanted = (stop - rowStart) * rowBytes;
  if (bytes.length !== wanted)
    throw checkpointError(
      source,
      path,
      `${name}: a source must give the ${wanted} bytes that are asked for, got ${bytes.length}; correct its read`,
    );
  const shape = info.shape.length === 0 ? [] : [stop - rowStart, ...info.shape.slice(1)];
  return { dtype: info.dtype, shape, bytes };
}

type Fail = (rule: string, cause?: unknown) => CogwheelError;
interface Header {
  tensors: Map<string, TensorInfo>;
  metadata: Record<string, string>;
}

const AGAIN = "the file is damaged or is not safetensors, download it again";

function parseHeader(text: string, dataStart: number, fileSize: number, fail: Fail): Header {
  const { duplicate, depth } = scanJson(text, MAX_DEPTH);
  if (depth > MAX_DEPTH) {
    throw fail(`the header may nest ${MAX_DEPTH} deep, got deeper; this file was made to break its reader, do not use it`);
  }
  if (duplicate !== null) {
    throw fail(`a name may stand once in the header, got ${JSON.stringify(duplicate)} twice; write the file again`);
  }
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (cause) {
    throw fail(`the header must be JSON, got ${(cause as Error).message}; ${AGAIN}`, cause);
  }
  if (!isObject(header)) throw fail(`the header must be a JSON object, got ${JSON.stringify(header)}; ${AGAIN}`);

  let metadata: Record<string, string> = {};
  const tensors: [string, TensorInfo][] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") metadata = checkMetadata(value, fail);
    else tensors.push([name, checkEntry(name, value, dataStart, fileSize, fail)]);
  }
  tensors.sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  checkLayout(tensors, dataStart, fileSize, fail);
  return { tensors: new Map(tensors), metadata };
}

function checkMetadata(value: unknown, fail: Fail): Record<string, string> {
  if (value === null) return {}; // some writers say so that there is none
  if (!isObject(value)) {
    throw fail(`__metadata__ must be an object of strings, got ${brief(value)}; write the file again`);
  }
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry !== "string") {
      throw fail(`__metadata__ may hold strings only, got ${JSON.stringify(key)}: ${brief(entry)}; write it as a string`);
    }
  }
  return value as Record<string, string>;
}

function checkEntry(name: string, value: unknown, dataStart: number, fileSize: number, fail: Fail): TensorInfo {
  const again = "the file is damaged, download it again";
  if (!isObject(value)) throw fail(`${name}: a tensor must be described by an object, got ${brief(value)}; ${again}`);
  // Other fields say nothing to the reference reader.
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isSafetensorsDType(dtype)) {
    throw fail(
      `${name}: dtype must be one of ${Object.keys(DTYPE_BYTES).join(", ")}, got ${brief(dtype)}; convert the tensor to one of these`,
    );
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw fail(`${name}: shape must be a list of whole numbers from 0, got ${brief(shape)}; ${again}`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw fail(`${name}: data_offsets must be two whole numbers from 0, got ${brief(offsets)}; ${again}`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) {
    throw fail(`${name}: data_offsets must be in order, got [${begin}, ${end}]; ${again}`);
  }
  if (end > fileSize - dataStart) {
    throw fail(
      `${name}: the tensor must end within the file's ${fileSize - dataStart} bytes of data, got data_offsets [${begin}, ${end}]; ` +
        "the file is truncated, finish or repeat the download",
    );
  }
  // Every factor is a safe integer and a product that is not can never equal a range inside the file.
  const want = elements(shape) * DTYPE_BYTES[dtype];
  if (want !== end - begin) {
    throw fail(
      `${name}: ${dtype} [${shape.join(", ")}] takes ${want} bytes, got data_offsets [${begin}, ${end}] of ${end - begin}; ${again}`,
    );
  }
  return { dtype, shape, start: dataStart + begin, end: dataStart + end };
}

/** The tensors, sorted by offset, must cover the data exactly: no overlap, no gap, nothing left over. */
function checkLayout(tensors: [string, TensorInfo][], dataStart: number, fileSize: number, fail: Fail): void {
  let at = dataStart;
  let before = "the header";
  for (const [name, { start, end }] of tensors) {
    if (start !== at) {
      const what = start < at ? "overlap" : "leave a gap";
      throw fail(
        `${name}: tensors must lie end to end, got ${name} at byte ${start - dataStart} of the data where ${before} ends ` +
          `at ${at - dataStart} (they ${what}); the file is damaged, download it again`,
      );
    }
    at = end;
    before = name;
  }
  if (at !== fileSize) {
    throw fail(
      `the last tensor must end at the end of the file, got ${fileSize - at} bytes after ${before}; ` +
        "the file is damaged or still being written, download it again",
    );
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && !Object.is(value, -0);
}

/** A tensor to be written: `data` is any view of its little-endian bytes. */
export interface TensorToWrite {
  dtype: SafetensorsDType;
  shape: readonly number[];
  data: ArrayBufferView;
}

/** A safetensors file as bytes, laid out by {@link layoutSafetensors}. */
export function writeSafetensors(
  tensors: ReadonlyMap<string, TensorToWrite> | Record<string, TensorToWrite>,
  metadata: Record<string, string> = {},
): Uint8Array<ArrayBuffer> {
  const entries: Iterable<[string, TensorToWrite]> = tensors instanceof Map ? tensors : Object.entries(tensors);
  const { head, order, bytes } = layoutSafetensors(entries, metadata);
  for (const [name, { dtype, shape, data }] of order) {
    const want = elements(shape) * DTYPE_BYTES[dtype];
    if (want !== data.byteLength) {
      throw new CogwheelError(
        "checkpoint",
        `writeSafetensors: ${name}: ${dtype} [${shape.join(", ")}] takes ${want} bytes, got ${data.byteLength}; pass data of that size`,
      );
    }
  }
  const file = new Uint8Array(bytes);
  file.set(head);
  let at = head.length;
  for (const [, { data }] of order) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return file;
}
