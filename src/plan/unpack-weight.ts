/**
 * The dispatches that turn a weight's bytes as they are stored into what kernels read: some rows of it at a time, cut into windows that
 * an adapter can bind. Offsets are bytes of the two buffers; who has which (`Unpacker`, the op `unpack`) binds them.
 */
import { unpackBlocks, unpackPanels, unpackPlain, unpackQ8, unpackSuperBlocks } from "#kernels";
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import type { Kernel } from "../gpu/kernel.ts";
import { bytesOf, elements } from "../graph/dtype.ts";
import { packedBytes, padTo, PANEL, Q8 } from "../graph/packing.ts";
import { FORMATS, type Format } from "../graph/stored.ts";
import { foldGrid, MAX_DISPATCH_FLOPS } from "./dispatch.ts";
import type { Range, UnpackDispatch, Unpacking } from "./unpacking.ts";

/**
 * Bytes that the change of a window of rows may take, beside what one row or panel needs at least: so few that a cache may hold them
 * between the product that makes them and the rows that they are added to.
 */
const CHANGE_BYTES = 2 ** 22;

/** Kernel and number of each format. */
const KERNELS: Readonly<Record<Format, readonly [kernel: Kernel, format: number]>> = {
  f32: [unpackPlain as Kernel, 0],
  f16: [unpackPlain as Kernel, 1],
  bf16: [unpackPlain as Kernel, 2],
  e4m3: [unpackPlain as Kernel, 3],
  q8_0: [unpackBlocks as Kernel, 0],
  q4_0: [unpackBlocks as Kernel, 1],
  q5_0: [unpackBlocks as Kernel, 2],
  q4_k: [unpackSuperBlocks as Kernel, 0],
  q5_k: [unpackSuperBlocks as Kernel, 1],
  q6_k: [unpackSuperBlocks as Kernel, 2],
};

const LAYOUT = { panel: 0, row: 1, flat: 2 } as const;
/**
 * What a binding has besides the bytes that a window needs, at most: it begins at a multiple of 256 and ends at one of 4. Formats whose
 * values begin at odd bytes have fewer of them than what they become, so the end is within it too.
 */
const SLACK = 256;
const THREADS = 64;
/** Values of an item where sums are made over a workgroup: as many items a thread make them cheap. */
const ITEMS_COUNTED = 16;
const PANEL_ITEMS_COUNTED: Readonly<Record<Capabilities["kind"], number>> = { hardware: 4, software: 16 };

const bounds = (start: number, bytes: number, granule: number): Range & { rest: number } => {
  const offset = start - (start % 256);
  return { offset, bytes: padTo(start - offset + bytes, granule), rest: start - offset };
};

/** Throws for rows that cannot be. */
export function checkUnpacking({ format, shape, firstRow, rows, packing, from, at }: Unpacking): void {
  const { values } = FORMATS[format];
  const whole = shape[0] ?? 1;
  const vector = shape.length < 2;
  const width = vector ? 1 : elements(shape.slice(1));
  const refuse = (rule: string, got: string, remedy: string): never => {
    throw new CogwheelError("weights", `${rule}, got ${got}; ${remedy}`);
  };
  if (elements(shape) === 0) refuse("a weight must have values to be unpacked", `the shape [${shape.join(", ")}]`, "leave it out");
  if (!(firstRow >= 0 && rows > 0 && firstRow + rows <= whole))
    refuse(`rows must lie in a weight [${shape.join(", ")}]`, `${rows} from row ${firstRow}`, "correct the part");
  if ((vector ? firstRow % values || rows % values : width % values) !== 0)
    refuse(
      `rows of ${format} must be whole blocks of ${values}`,
      vector ? `${rows} values from ${firstRow}` : `rows of ${width}`,
      "store it in a type without blocks",
    );
  if (packing === "q8" && (format !== "q8_0" || vector))
    refuse("a weight in 8-bit panels must be a matrix of q8_0", `${format} [${shape.join(", ")}]`, "unpack it to numbers");
  if (at % 16 || from % (format === "f32" ? 4 : format === "e4m3" ? 1 : 2))
    refuse("a weight must begin at a multiple of 16 bytes, and what is stored at one of its values", `${at} and ${from}`, "align them");
}

/** The dispatches that unpack some rows. */
export function unpackDispatches(part: Unpacking, caps: Capabilities): UnpackDispatch[] {
  checkUnpacking(part);
  const { shape, packing } = part;
  const width = elements(shape.slice(1));
  const matrix = shape.length > 1;
  if (packing === "q8") return q8Panels(part, caps);
  // Rows that lie end to end as they come are rows too, where they are whole vectors.
  if (packing === "panel" || packing === "row" || (matrix && width % PANEL === 0 && width * 64 <= caps.maxBindingBytes))
    return byRows(part, caps);
  return endToEnd(part, caps);
}

/** How rows lie in a packed weight whose rows are kept apart, and in the stored one. */
interface Rows {
  readonly inner: number;
  readonly taps: number;
  readonly padded: number;
  /** Rows that are packed together. */
  readonly unit: number;
  /** Bytes of a row as it is stored, and packed. */
  readonly from: number;
  readonly to: number;
}

function byRows(part: Unpacking, caps: Capabilities): UnpackDispatch[] {
  const { format, shape, firstRow, rows, packing, dtype } = part;
  const flat = packing === "natural" || packing === "vector";
  const inner = flat ? elements(shape.slice(1)) : (shape[1] ?? 1);
  const taps = flat ? 1 : elements(shape.slice(2));
  const padded = flat ? inner : padTo(inner, packing === "row" ? 8 : 4);
  const unit = packing === "panel" ? PANEL : 1;
  const { values, bytes } = FORMATS[format];
  const geometry = { inner, taps, padded, unit, from: ((inner * taps) / values) * bytes, to: padded * taps * bytesOf[dtype] };
  const last = firstRow + rows;
  const end = last === shape[0] && !flat ? padTo(last, PANEL) : padTo(last, unit);
  const start = firstRow - (firstRow % unit);
  if (!asVectors(part, geometry)) return anyRows(part, geometry, start, end, caps);
  // Whole panels by themselves; of the first and the last one others may have rows.
  const [first, after] = [padTo(firstRow, unit), last - (last % unit)];
  if (first >= after) return anyRows(part, geometry, start, end, caps);
  return [
    ...anyRows(part, geometry, start, first, caps),
    ...wholePanels(part, geometry, first, after, caps),
    ...anyRows(part, geometry, after, end, caps),
  ];
}

/** Are rows whole vectors of 16 bytes, which are only converted and moved? */
function asVectors({ format, packing, scales, rank, from: start }: Unpacking, { inner, taps, from }: Rows): boolean {
  const plain = format === "f32" || format === "f16" || format === "bf16";
  return plain && packing === "panel" && !scales && !rank && taps === 1 && inner % 4 === 0 && from % 16 === 0 && start % 16 === 0;
}

/** Rows that a change may be made of at a time, besides up to three before them: `up` is read by four. */
const changedRows = (inner: number, taps: number, caps: Capabilities): number =>
  Math.floor(Math.min(CHANGE_BYTES, caps.maxBindingBytes) / (4 * padTo(inner, 4) * taps)) - 3;

/** Windows of rows `start` to `end` of the packed weight: as many as a binding has room for, and as a dispatch may do work for. */
function* windowsOf({ shape, rank = 0 }: Unpacking, { inner, taps, unit, from, to }: Rows, start: number, end: number, caps: Capabilities) {
  const ofChange = rank ? Math.floor(changedRows(inner, taps, caps) / unit) : Infinity;
  const bytes = Math.max(from, to) * unit;
  const most = Math.floor((caps.maxBindingBytes - SLACK) / bytes);
  if (most < 1) tooWide(shape, bytes, caps);
  const affordable = rank ? Math.max(1, Math.floor(MAX_DISPATCH_FLOPS[caps.kind] / (2 * rank * inner * taps * unit))) : most;
  const step = Math.max(1, Math.min(most, affordable, ofChange)) * unit;
  for (let at = start; at < end; at += step) yield { start: at, count: Math.min(step, end - at) };
}

function wholePanels(part: Unpacking, geometry: Rows, first: number, after: number, caps: Capabilities): UnpackDispatch[] {
  const { format, dtype, from: begin, at, firstRow, loss = false } = part;
  const { from, to } = geometry;
  const items = loss ? PANEL_ITEMS_COUNTED[caps.kind] : 1;
  return [...windowsOf(part, geometry, first, after, caps)].map(({ start, count: rows }) => {
    const x = bounds(begin + (start - firstRow) * from, rows * from, 16);
    const y = bounds(at + start * to, rows * to, 16);
    const wide = from / 16;
    const count = (rows / 8) * wide;
    return {
      kernel: unpackPanels as Kernel,
      consts: { FORMAT: KERNELS[format][1], HALF: +(dtype === "f16"), LOSS: +loss, ITEMS: items },
      params: { count, wide, x_first: x.rest / 16, y_first: y.rest / 16 },
      grid: foldGrid(Math.ceil(count / (THREADS * items)), caps),
      x: { offset: x.offset, bytes: x.bytes },
      y: { offset: y.offset, bytes: y.bytes },
      change: 0,
    };
  });
}

/** Of a panel all 16 rows that it has, whoever has the others. */
function anyRows(part: Unpacking, geometry: Rows, begin: number, end: number, caps: Capabilities): UnpackDispatch[] {
  const { shape, firstRow, packing, format } = part;
  const { inner, taps, padded, unit, from, to } = geometry;
  const out = shape[0]!;
  return [...windowsOf(part, geometry, begin, end, caps)].flatMap(({ start, count }) => {
    const { row, mine } = rowsWithin(part, start, count);
    return unpack(part, caps, {
      changed: mine,
      layout: packing === "panel" ? LAYOUT.panel : LAYOUT.row,
      count: (count * padded * taps) / (unit === PANEL ? 16 : 4),
      first: Math.max(0, firstRow - start),
      rows: mine,
      out: Math.max(0, out - start),
      inner,
      taps,
      padded,
      row,
      source: { start: row * from, bytes: Math.max(1, mine) * from },
      target: { start: start * to, bytes: count * to },
      whole: taps > 1 || (inner * FORMATS[format].bytes) % 4 === 0,
    });
  });
}

/** Values and scales as they are stored. */
function q8Panels(part: Unpacking, caps: Capabilities): UnpackDispatch[] {
  const { format, shape, firstRow, rows, scales = 0, scaleRow = 0 } = part;
  const [out, inner] = [shape[0]!, elements(shape.slice(1))];
  const blocks = inner / Q8.values;
  const geometry: Rows = { inner, taps: 1, padded: inner, unit: PANEL, from: blocks * FORMATS[format].bytes, to: blocks * Q8.bytes };
  const { from, to } = geometry;
  const begin = firstRow - (firstRow % PANEL);
  return [...windowsOf(part, geometry, begin, padTo(firstRow + rows, PANEL), caps)].flatMap(({ start, count }) => {
    const { row, mine } = rowsWithin(part, start, count);
    const { changed, product, change } = part.changeOf?.(part, { row, rows: mine, inner, taps: 1 }, caps, foldGrid) ?? UNCHANGED;
    const x = bounds(part.from + row * from, mine * from, 4);
    const y = bounds(part.at + start * to, count * to, 16);
    const own: UnpackDispatch = {
      kernel: unpackQ8 as Kernel,
      consts: { SCALED: +(scales > 0), LORA: +(change > 0) },
      params: {
        count: count * blocks,
        first: Math.max(0, firstRow - start),
        rows: mine,
        out: Math.max(0, out - start),
        blocks,
        x_byte: x.rest,
        y_word: y.rest / 4,
        row: scaleRow + row,
        step: +(scales > 1),
        changed,
      },
      grid: foldGrid(Math.ceil((count * blocks) / THREADS), caps),
      x: { offset: x.offset, bytes: x.bytes },
      y: { offset: y.offset, bytes: y.bytes },
      change,
    };
    return [...product, own];
  });
}

const UNCHANGED = { product: [], changed: 0, change: 0 };

/** Rows of a part that a window of the packed weight has, and the first of them. */
function rowsWithin({ firstRow, rows }: Unpacking, start: number, count: number): { row: number; mine: number } {
  const mine = Math.min(firstRow + rows, start + count) - Math.max(firstRow, start);
  return { row: Math.min(Math.max(0, start - firstRow), rows - 1), mine: Math.max(0, mine) };
}

/** Values without regard to rows. */
function endToEnd(part: Unpacking, caps: Capabilities): UnpackDispatch[] {
  const { format, shape, firstRow, rows, packing, dtype } = part;
  const matrix = shape.length > 1;
  const width = matrix ? elements(shape.slice(1)) : 1;
  const inner = matrix ? width : elements(shape);
  const [first, mine, out] = [firstRow * width, rows * width, elements(shape)];
  const { values, bytes } = FORMATS[format];
  const size = bytesOf[dtype];
  const end = first + mine === out ? padTo(packedBytes(shape, packing, dtype) / size, 16 / size) : padTo(first + mine, 4);
  // Windows begin at a whole row of the source, for scales and changes; where rows are as wide as a binding that cannot be.
  const room = caps.maxBindingBytes - SLACK;
  const ofChange = part.rank ? Math.max(256, (changedRows(width, 1, caps) - 1) * width) : Infinity;
  const step = Math.floor(Math.min(room / size, (room / bytes) * values - (matrix ? width : 0), ofChange) / 256) * 256;
  if (step < 256) tooWide(shape, width * Math.max(size, bytes / values), caps);
  const dispatches: UnpackDispatch[] = [];
  for (let start = first - (first % 4); start < end; start += step) {
    const count = Math.min(step, end - start);
    const from = Math.min(mine - 1, Math.max(0, start - first));
    const skipped = matrix ? from - (from % width) : from - (from % values);
    const last = Math.min(mine, Math.max(skipped + values, start + count - first));
    dispatches.push(
      ...unpack(part, caps, {
        layout: LAYOUT.flat,
        changed: Math.ceil(last / width) - Math.floor(skipped / width),
        count: count / 4,
        first: first + skipped - start,
        rows: mine - skipped,
        out: Math.max(0, out - start),
        inner,
        taps: 1,
        padded: inner,
        row: matrix ? skipped / width : 0,
        source: { start: (skipped / values) * bytes, bytes: Math.ceil((last - skipped) / values) * bytes },
        target: { start: start * size, bytes: count * size },
        whole: true,
      }),
    );
  }
  return dispatches;
}

interface Window {
  readonly layout: number;
  /** Rows of the part that it reads. */
  readonly changed: number;
  readonly count: number;
  readonly first: number;
  readonly rows: number;
  readonly out: number;
  readonly inner: number;
  readonly taps: number;
  readonly padded: number;
  /** Row of the part that its source begins at. */
  readonly row: number;
  /** Bytes from the part's, and from the packed weight's, beginning. */
  readonly source: { readonly start: number; readonly bytes: number };
  readonly target: { readonly start: number; readonly bytes: number };
  /** Do quads of the source begin at words, where it does? */
  readonly whole: boolean;
}

function unpack(
  part: Unpacking,
  caps: Capabilities,
  { layout, changed: changedRows, row, source, target, whole, count, ...params }: Window,
): UnpackDispatch[] {
  const { format, dtype, scales = 0, scaleRow = 0, loss = false } = part;
  const { inner, taps } = params;
  const { product, changed, change } = part.changeOf?.(part, { row, rows: changedRows, inner, taps }, caps, foldGrid) ?? UNCHANGED;
  const [kernel, number] = KERNELS[format];
  const x = bounds(part.from + source.start, source.bytes, 4);
  const y = bounds(part.at + target.start, target.bytes, 16);
  const items = loss ? ITEMS_COUNTED : 1;
  const own: UnpackDispatch = {
    kernel,
    consts: {
      FORMAT: number,
      LAYOUT: layout,
      HALF: +(dtype === "f16"),
      TAPS: +(params.taps > 1),
      SCALED: +(scales > 0),
      LORA: +(change > 0),
      LOSS: +loss,
      ITEMS: items,
      ...("ALIGNED" in kernel.consts ? { ALIGNED: +(whole && x.rest % 4 === 0) } : {}),
    },
    params: {
      ...params,
      count,
      first: params.first >>> 0, // may lie before the window
      x_byte: x.rest,
      y_quad: y.rest / (4 * bytesOf[dtype]),
      row: scaleRow + row,
      step: +(scales > 1),
      changed,
    },
    grid: foldGrid(Math.ceil(count / (THREADS * items)), caps),
    x: { offset: x.offset, bytes: x.bytes },
    y: { offset: y.offset, bytes: y.bytes },
    change,
  };
  return [...product, own];
}

function tooWide(shape: readonly number[], bytes: number, caps: Capabilities): never {
  throw new CogwheelError(
    "weights",
    `rows that are unpacked together must fit a binding of ${caps.maxBindingBytes} bytes, ` +
      `got ${bytes} bytes of [${shape.join(", ")}]; use another adapter`,
  );
}
