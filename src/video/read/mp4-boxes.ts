/**
 * What an MP4 or MOV says of a track that the demuxer keeps to itself: the whole edit list, the exact pixel aspect, colours by their
 * numbers, the clean aperture, how many samples its index promises. Only boxes of the index are looked at, none of the media.
 * ISO/IEC 14496-12; the quirks are those of libavformat's mov.c.
 */
import type { Area } from "./planes.ts";

/** A part of the media that is shown; times are those of the media, in its time scale. */
export interface Edit {
  /** First time that is shown; `undefined` for a pause in which nothing is. */
  from: number | undefined;
  /** How long; Infinity for all that follows. */
  length: number;
}

export interface Mp4Track {
  /** Ticks a second of the media's times. */
  timescale: number;
  /** `undefined` where everything is shown as it comes. */
  edits: Edit[] | undefined;
  /** What the demuxer takes away from all times, because of the first edit. */
  offset: number;
  /** Samples that the index lists; 0 for a film in fragments. */
  samples: number;
  /** Film in fragments (moof): edit lists do no more than shift it. */
  fragmented: boolean;
  /** What a codec `mp4v` is, by its number in ISO/IEC 14496-1: 0x20 MPEG-4, 0x60 to 0x65 MPEG-2, 0x6a MPEG-1, 0x6c JPEG. */
  objectType: number | undefined;
  color?: { matrix: number; transfer: number; fullRange: boolean | undefined };
  aspect?: { num: number; den: number };
  /** The part that is shown, in stored pixels. */
  aperture?: Area;
}

export interface Box {
  type: string;
  /** Where its header begins. */
  at: number;
  /** The first byte of the contents. */
  start: number;
  end: number;
}

/** The track of this number in bytes of an MP4 or MOV; `undefined` where there is none such. */
export function mp4Track(bytes: Uint8Array, id: number): Mp4Track | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let movieScale = 0;
  let fragmented = false;
  let found: Box | undefined;
  for (const box of boxes(view, 0, view.byteLength)) {
    if (box.type === "moof") fragmented = true;
    if (box.type !== "moov") continue;
    for (const inner of boxes(view, box.start, box.end)) {
      if (inner.type === "mvhd" && inner.end - inner.start >= 24)
        movieScale = view.getUint32(inner.start + (view.getUint8(inner.start) === 1 ? 20 : 12));
      if (inner.type !== "trak" || found) continue;
      const header = child(view, inner, "tkhd");
      if (header && header.end - header.start >= 24 && view.getUint32(header.start + (view.getUint8(header.start) === 1 ? 20 : 12)) === id)
        found = inner;
    }
  }
  const media = found && child(view, found, "mdia");
  const header = media && child(view, media, "mdhd");
  if (!found || !media || !header || header.end - header.start < 24) return undefined;
  const timescale = view.getUint32(header.start + (view.getUint8(header.start) === 1 ? 20 : 12));
  const table = descend(view, media, "minf", "stbl");
  return {
    timescale,
    fragmented,
    ...editsOf(view, descend(view, found, "edts", "elst"), timescale, movieScale),
    samples: samplesOf(view, table),
    ...descriptionOf(view, table && child(view, table, "stsd")),
  };
}

/** Where the file ends by its boxes, which is beyond its end where it was cut off; `undefined` for other files. */
export function mp4End(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at + 8 <= view.byteLength) {
    if (!/^[\w ©]{4}$/.test(fourLetters(view, at + 4))) return undefined;
    const size =
      view.getUint32(at) === 1 && at + 16 <= view.byteLength
        ? view.getUint32(at + 8) * 2 ** 32 + view.getUint32(at + 12)
        : view.getUint32(at);
    if (size === 0) return view.byteLength;
    if (size < 8) return undefined;
    at += size;
  }
  return at;
}

/** The boxes between two places, one after another. */
export function* boxes(view: DataView, start: number, end: number): Generator<Box> {
  for (let at = start; at + 8 <= end; ) {
    let size = view.getUint32(at);
    let header = 8;
    if (size === 1 && at + 16 <= end) {
      size = view.getUint32(at + 8) * 2 ** 32 + view.getUint32(at + 12);
      header = 16;
    }
    if (size === 0) size = end - at;
    if (size < header) return;
    yield { type: fourLetters(view, at + 4), at, start: at + header, end: Math.min(end, at + size) };
    at += size;
  }
}

export function child(view: DataView, parent: Box, type: string): Box | undefined {
  for (const box of boxes(view, parent.start, parent.end)) if (box.type === type) return box;
  return undefined;
}

export function descend(view: DataView, parent: Box, ...types: string[]): Box | undefined {
  let box: Box | undefined = parent;
  for (const type of types) box = box && child(view, box, type);
  return box;
}

function fourLetters(view: DataView, at: number): string {
  return String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3));
}

function editsOf(
  view: DataView,
  list: Box | undefined,
  timescale: number,
  movieScale: number,
): { edits: Edit[] | undefined; offset: number } {
  if (!list || list.end - list.start < 8 || !movieScale) return { edits: undefined, offset: 0 };
  const wide = view.getUint8(list.start) === 1;
  const size = wide ? 20 : 12;
  const entries = Math.min(view.getUint32(list.start + 4), Math.floor((list.end - list.start - 8) / size));
  const edits: Edit[] = [];
  let offset: number | undefined;
  let before = 0;
  for (let i = 0, at = list.start + 8; i < entries; i++, at += size) {
    const duration = wide ? view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4) : view.getUint32(at);
    const from = wide ? view.getInt32(at + 8) * 2 ** 32 + view.getUint32(at + 12) : view.getInt32(at + 4);
    // No length: up to the end. (0 is what is written where the length was not known; all ones by some cameras.)
    const length = duration === 0 || duration === 0xffffffff ? Infinity : Math.round((duration / movieScale) * timescale);
    edits.push({ from: from < 0 ? undefined : from, length });
    if (from === -1) before += offset === undefined ? duration : 0;
    else offset ??= from - Math.round((before / movieScale) * timescale);
  }
  return { edits: edits.some(({ from }) => from !== undefined) ? edits : undefined, offset: offset ?? 0 };
}

/** How many samples the index lists. */
function samplesOf(view: DataView, table: Box | undefined): number {
  const sizes = table && (child(view, table, "stsz") ?? child(view, table, "stz2"));
  return sizes && sizes.end - sizes.start >= 12 ? view.getUint32(sizes.start + 8) : 0;
}

/** The first description of samples: those of films have 78 bytes of their own before their boxes. */
function descriptionOf(view: DataView, description: Box | undefined): Pick<Mp4Track, "objectType" | "color" | "aspect" | "aperture"> {
  const entry = description && [...boxes(view, description.start + 8, description.end)][0];
  if (!entry) return { objectType: undefined };
  const result: ReturnType<typeof descriptionOf> = { objectType: undefined };
  for (const { type, start, end } of boxes(view, entry.start + 78, entry.end)) {
    const length = end - start;
    if (type === "esds") result.objectType = objectTypeOf(view, start + 4, end);
    if (type === "pasp" && length >= 8) {
      const [num, den] = [view.getUint32(start), view.getUint32(start + 4)];
      if (num > 0 && den > 0) result.aspect = { num, den };
    }
    if (type === "colr" && length >= 10) {
      const kind = fourLetters(view, start);
      if (kind === "nclc" || (kind === "nclx" && length >= 11)) {
        result.color = {
          transfer: view.getUint16(start + 6),
          matrix: view.getUint16(start + 8),
          fullRange: kind === "nclx" ? view.getUint8(start + 10) >= 128 : undefined,
        };
      }
    }
    if (type === "clap" && length >= 32) {
      const [stored, rows] = [view.getUint16(entry.start + 24), view.getUint16(entry.start + 26)];
      const [width, height, x, y] = [0, 8, 16, 24].map((at) => view.getInt32(start + at) / view.getInt32(start + at + 4)) as [
        number,
        number,
        number,
        number,
      ];
      if ([width, height, x, y].every(Number.isFinite) && width > 0 && height > 0) {
        // The offsets are those of the centres.
        result.aperture = {
          left: Math.round((stored - width) / 2 + x),
          top: Math.round((rows - height) / 2 + y),
          width: Math.round(width),
          height: Math.round(height),
        };
      }
    }
  }
  return result;
}

/** Descriptors in one another: a tag, a length in groups of 7 bits, contents. */
function objectTypeOf(view: DataView, start: number, end: number): number | undefined {
  for (let at = start; at + 2 <= end; ) {
    const tag = view.getUint8(at++);
    while (at < end && view.getUint8(at) >= 128) at++;
    at++;
    if (tag === 4) return at < end ? view.getUint8(at) : undefined;
    if (tag !== 3) return undefined;
    const flags = at + 2 < end ? view.getUint8(at + 2) : 0;
    at += 3 + (flags & 0x80 ? 2 : 0) + (flags & 0x20 ? 2 : 0);
    if (flags & 0x40) return undefined;
  }
  return undefined;
}
