/**
 * Films that are only partly in fragments: the index lists the first samples, `moof` boxes bring the others (ffmpeg's
 * `-movflags frag_keyframe` without `empty_moov`, recorders that secure what they have). The demuxer reads one or the other, so all of
 * them are put into one index. ISO/IEC 14496-12, 8.6 to 8.8.
 */
import { joined } from "../../base/joined.ts";
import { boxes, child, descend, type Box } from "./mp4-boxes.ts";

/** Samples of one run, which lie behind one another. */
interface Run {
  /** When the first is decoded, where the fragment says so. */
  time: number | undefined;
  offset: number;
  description: number;
  sizes: number[];
  durations: number[];
  shifts: number[];
  keys: boolean[];
}

interface Defaults {
  description: number;
  duration: number;
  size: number;
  flags: number;
}

/** More samples than a film has: damaged tables count by the billion. */
const MOST_SAMPLES = 10_000_000;

/**
 * The bytes of an MP4 or MOV with all of its samples in one index; the same bytes where that is
 * so already, or where fragments hold them all.
 */
export function mp4Whole(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const top = [...boxes(view, 0, view.byteLength)];
  const moov = top.find(({ type }) => type === "moov");
  const moofs = top.filter(({ type }) => type === "moof");
  if (!moov || moofs.length === 0) return bytes;
  const tracks = [...boxes(view, moov.start, moov.end)].filter(({ type }) => type === "trak");
  if (!tracks.some((track) => sizesOf(view, tableOf(view, track)).length > 0)) return bytes;
  const runs = runsOf(view, moov, moofs);
  if (runs.size === 0) return bytes;

  const index = box(
    "moov",
    ...[...boxes(view, moov.start, moov.end)]
      .filter(({ type }) => type !== "mvex")
      .map((part) => (part.type === "trak" ? trackWith(view, part, runs.get(idOf(view, part)) ?? []) : copy(view, part))),
  );
  const whole = new Uint8Array(bytes.length + index.length);
  whole.set(bytes);
  whole.set(index, bytes.length);
  // From the earlier index on, the boxes become one that is passed over: samples are found by where they lie in the file.
  const header = new DataView(whole.buffer, moov.at, 16);
  header.setUint32(0, 1);
  header.setUint32(4, 0x66726565); // free
  header.setBigUint64(8, BigInt(bytes.length - moov.at));
  return whole;
}

/** What the fragments bring, by track. */
function runsOf(view: DataView, moov: Box, moofs: readonly Box[]): Map<number, Run[]> {
  const extensions = child(view, moov, "mvex");
  const defaults = new Map<number, Defaults>();
  for (const { type, start, end } of extensions ? boxes(view, extensions.start, extensions.end) : []) {
    if (type !== "trex" || end - start < 24) continue;
    const [id, description, duration, size, flags] = [4, 8, 12, 16, 20].map((at) => view.getUint32(start + at)) as [
      number,
      number,
      number,
      number,
      number,
    ];
    defaults.set(id, { description, duration, size, flags });
  }
  const result = new Map<number, Run[]>();
  let left = MOST_SAMPLES;
  for (const moof of moofs) {
    let next = moof.at; // where the data of a track begin that does not say so: behind those of the track before it
    for (const part of boxes(view, moof.start, moof.end)) {
      const header = part.type === "traf" ? child(view, part, "tfhd") : undefined;
      if (!header || header.end - header.start < 8) continue;
      const read = new Fields(view, header.start, header.end);
      const flags = read.u32();
      const id = read.u32();
      const common = { ...(defaults.get(id) ?? { description: 1, duration: 0, size: 0, flags: 0 }) };
      const base = flags & 1 ? read.u64() : flags & 0x20000 ? moof.at : next;
      if (flags & 2) common.description = read.u32();
      if (flags & 8) common.duration = read.u32();
      if (flags & 0x10) common.size = read.u32();
      if (flags & 0x20) common.flags = read.u32();
      const decode = child(view, part, "tfdt");
      let time =
        decode && decode.end - decode.start >= 8
          ? view.getUint8(decode.start) === 1 && decode.end - decode.start >= 12
            ? new Fields(view, decode.start + 4, decode.end).u64()
            : view.getUint32(decode.start + 4)
          : undefined;
      next = base;
      for (const { type, start, end } of boxes(view, part.start, part.end)) {
        if (type !== "trun" || end - start < 8) continue;
        const run = runOf(view, start, end, { base, next, time }, common, left);
        left -= run.sizes.length;
        next = run.offset + run.sizes.reduce((sum, size) => sum + size, 0);
        if (run.sizes.length === 0) continue;
        const list = result.get(id) ?? [];
        list.push(run);
        result.set(id, list);
        time = undefined;
      }
    }
  }
  return result;
}

/** One `trun`, up to the first sample that is not in the file. */
function runOf(
  view: DataView,
  start: number,
  end: number,
  { base, next, time }: { base: number; next: number; time: number | undefined },
  common: Defaults,
  most: number,
): Run {
  const read = new Fields(view, start, end);
  const flags = read.u32();
  const count = read.u32();
  const run: Run = {
    time,
    offset: flags & 1 ? base + read.i32() : next,
    description: common.description,
    sizes: [],
    durations: [],
    shifts: [],
    keys: [],
  };
  const first = flags & 4 ? read.u32() : undefined;
  const listed = (flags & 0xf00) !== 0;
  let at = run.offset;
  for (let k = 0; k < count && k < most && (!listed || !read.done); k++) {
    const duration = flags & 0x100 ? read.u32() : common.duration;
    const size = flags & 0x200 ? read.u32() : common.size;
    const own = flags & 0x400 ? read.u32() : common.flags;
    const shift = flags & 0x800 ? read.i32() : 0;
    at += size;
    if (size === 0 || at > view.byteLength || run.offset < 0) break;
    run.sizes.push(size);
    run.durations.push(duration);
    run.shifts.push(shift);
    run.keys.push((((k === 0 ? first : undefined) ?? own) & 0x10000) === 0);
  }
  return run;
}

/** A track whose tables go on with the samples of the runs. */
function trackWith(view: DataView, track: Box, runs: readonly Run[]): Uint8Array<ArrayBuffer> {
  const table = tableOf(view, track);
  if (!table || runs.length === 0) return copy(view, track);
  const rows = (type: string, width: number): number[][] => rowsOf(view, child(view, table, type), width);
  const sizes = sizesOf(view, table);
  const durations = rows("stts", 2);
  const shifts = rows("ctts", 2);
  const perChunk = rows("stsc", 3);
  const chunks = child(view, table, "co64") ? rows("co64", 2).map(([high, low]) => high! * 2 ** 32 + low!) : rows("stco", 1).flat();
  // Without a list of key frames all of them are.
  const keys = child(view, table, "stss") ? rows("stss", 1).flat() : sizes.map((_, sample) => sample + 1);
  if (shifts.length === 0 && sizes.length > 0) shifts.push([sizes.length, 0]);
  let time = durations.reduce((sum, [count, duration]) => sum + count! * duration!, 0);
  for (const run of runs) {
    const last = durations.at(-1);
    if (run.time !== undefined && run.time > time && last) {
      // A gap before a fragment is time of the sample before it.
      last[0]!--;
      durations.push([1, last[1]! + run.time - time]);
      time = run.time;
    }
    chunks.push(run.offset);
    perChunk.push([chunks.length, run.sizes.length, run.description]);
    for (const [sample, size] of run.sizes.entries()) {
      sizes.push(size);
      durations.push([1, run.durations[sample]!]);
      shifts.push([1, run.shifts[sample]!]);
      if (run.keys[sample]) keys.push(sizes.length);
      time += run.durations[sample]!;
    }
  }
  const grown = box(
    "stbl",
    ...[...boxes(view, table.start, table.end)].filter(({ type }) => !GROWN.has(type)).map((part) => copy(view, part)),
    box("stts", words(0, durations.length), rowsAsBytes(durations)),
    box("ctts", words(1 << 24, shifts.length), rowsAsBytes(shifts)),
    box("stsc", words(0, perChunk.length), rowsAsBytes(perChunk)),
    box("stsz", words(0, 0, sizes.length), rowsAsBytes(sizes.map((size) => [size]))),
    box("co64", words(0, chunks.length), rowsAsBytes(chunks.map((offset) => [Math.floor(offset / 2 ** 32), offset]))),
    box("stss", words(0, keys.length), rowsAsBytes(keys.map((key) => [key]))),
  );
  return replaced(view, track, ["mdia", "minf", "stbl"], grown);
}

/** Tables of samples: those that grow, and those that say of single samples what no decoder needs. */
const GROWN = new Set([
  "stts",
  "ctts",
  "stsc",
  "stsz",
  "stz2",
  "stco",
  "co64",
  "stss",
  "stsh",
  "stdp",
  "sdtp",
  "sbgp",
  "sgpd",
  "subs",
  "saiz",
  "saio",
  "padb",
]);

/** A box with one that is in it, at the end of a path, replaced. */
function replaced(view: DataView, parent: Box, [type, ...path]: readonly string[], by: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const parts = [...boxes(view, parent.start, parent.end)].map((part) =>
    part.type !== type ? copy(view, part) : path.length > 0 ? replaced(view, part, path, by) : by,
  );
  return box(parent.type, ...parts);
}

const tableOf = (view: DataView, track: Box): Box | undefined => descend(view, track, "mdia", "minf", "stbl");

function idOf(view: DataView, track: Box): number {
  const header = child(view, track, "tkhd");
  return header && header.end - header.start >= 24 ? view.getUint32(header.start + (view.getUint8(header.start) === 1 ? 20 : 12)) : 0;
}

/** The rows of a table, of so many words each. */
function rowsOf(view: DataView, table: Box | undefined, width: number): number[][] {
  if (!table || table.end - table.start < 8) return [];
  const count = Math.min(view.getUint32(table.start + 4), Math.floor((table.end - table.start - 8) / (4 * width)));
  return Array.from({ length: count }, (_, row) =>
    Array.from({ length: width }, (_, word) => view.getUint32(table.start + 8 + 4 * (row * width + word))),
  );
}

/** The sizes of the samples that the index lists. */
function sizesOf(view: DataView, table: Box | undefined): number[] {
  const sizes = table && child(view, table, "stsz");
  if (!sizes || sizes.end - sizes.start < 12) return [];
  const same = view.getUint32(sizes.start + 4);
  const count = view.getUint32(sizes.start + 8);
  if (same > 0) return new Array<number>(Math.min(count, MOST_SAMPLES)).fill(same);
  return Array.from({ length: Math.min(count, Math.floor((sizes.end - sizes.start - 12) / 4)) }, (_, sample) =>
    view.getUint32(sizes.start + 12 + 4 * sample),
  );
}

/** Fields one after another; what lies beyond the end is 0. */
class Fields {
  constructor(
    readonly view: DataView,
    public at: number,
    readonly end: number,
  ) {}

  get done(): boolean {
    return this.at >= this.end;
  }

  u32(): number {
    this.at += 4;
    return this.at <= this.end ? this.view.getUint32(this.at - 4) : 0;
  }

  i32(): number {
    return this.u32() | 0;
  }

  u64(): number {
    return this.u32() * 2 ** 32 + this.u32();
  }
}

function rowsAsBytes(rows: readonly (readonly number[])[]): Uint8Array<ArrayBuffer> {
  const width = rows[0]?.length ?? 0;
  const view = new DataView(new ArrayBuffer(4 * width * rows.length));
  for (const [row, values] of rows.entries())
    for (let word = 0; word < width; word++) view.setUint32(4 * (row * width + word), values[word]!);
  return new Uint8Array(view.buffer);
}

function words(...values: number[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  for (const [index, value] of values.entries()) view.setUint32(4 * index, value);
  return new Uint8Array(view.buffer);
}

function copy(view: DataView, { at, end }: Box): Uint8Array<ArrayBuffer> {
  return new Uint8Array(view.buffer, view.byteOffset + at, end - at).slice();
}

function box(type: string, ...parts: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const size = parts.reduce((sum, { length }) => sum + length, 8);
  return joined([words(size), Uint8Array.from(type, (letter) => letter.charCodeAt(0)), ...parts]);
}
