/**
 * What a Matroska file (MKV, WebM) says of a track that the demuxer keeps to itself: colours by their numbers, the size of
 * display, cropping, the pose. RFC 9559; only the head of the segment is looked at.
 */
import type { Area } from "./planes.ts";

export interface MkvTrack {
  color?: { matrix: number; transfer: number; fullRange: boolean | undefined };
  aspect?: { num: number; den: number };
  /** The part that is shown, in stored pixels. */
  aperture?: Area;
  /** Degrees counter-clockwise in the plane of the picture, and whether it is seen from behind; `undefined` for other poses. */
  pose?: { roll: number; mirrored: boolean };
}

/** Where the segment ends by its header, which is beyond the end of the file where it was cut off; `undefined` where it does not say. */
export function mkvEnd(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const { id, declared } of elements(view, 0, view.byteLength)) if (id === SEGMENT) return declared;
  return undefined;
}

/**
 * A file that was cut off, up to its last whole block, with the sizes of the segment and of the last cluster set to what is there: the
 * demuxer gives nothing of a cluster that is not whole. Other files as they are.
 */
export function mkvWhole(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const segment of elements(view, 0, view.byteLength)) {
    if (segment.id !== SEGMENT) continue;
    if (segment.declared === undefined || segment.declared <= view.byteLength) return bytes;
    let last = segment;
    for (const part of elements(view, segment.start, segment.end)) last = part;
    let end = last.start;
    if (last.id === CLUSTER)
      for (const block of elements(view, last.start, last.end))
        if (block.declared !== undefined && block.declared <= view.byteLength) end = block.declared;
    if (last.declared !== undefined && last.declared <= view.byteLength) end = last.declared;
    const out = Uint8Array.from(bytes.subarray(0, end)); // slice of a Buffer would share its memory
    for (const element of last === segment ? [segment] : [segment, last]) resize(out, element, end);
    return out;
  }
  return bytes;
}

/** Writes another size into the header of an element, in as many bytes as it has. */
function resize(bytes: Uint8Array, { start, sizeAt }: Element, end: number): void {
  let left = end - start;
  for (let at = start - 1; at > sizeAt; at--, left = Math.floor(left / 256)) bytes[at] = left & 255;
  bytes[sizeAt] = (0x80 >> (start - 1 - sizeAt)) | left;
}

interface Element {
  id: number;
  sizeAt: number;
  start: number;
  /** Within what it is a part of. */
  end: number;
  /** As its header says; `undefined` for live streams. */
  declared: number | undefined;
}

const SEGMENT = 0x18538067;
const CLUSTER = 0x1f43b675;
const TRACKS = 0x1654ae6b;
const TRACK = 0xae;
const NUMBER = 0xd7;
const VIDEO = 0xe0;
const COLOUR = 0x55b0;
const PROJECTION = 0x7670;

/** The track of this number; `undefined` where there is none such. */
export function mkvTrack(bytes: Uint8Array, number: number): MkvTrack | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const segment of elements(view, 0, view.byteLength)) {
    if (segment.id !== SEGMENT) continue;
    for (const part of elements(view, segment.start, segment.end)) {
      if (part.id === CLUSTER) break;
      if (part.id !== TRACKS) continue;
      for (const track of elements(view, part.start, part.end)) {
        if (track.id !== TRACK || unsigned(view, child(view, track, NUMBER)) !== number) continue;
        const video = child(view, track, VIDEO);
        return video ? videoOf(view, video) : {};
      }
    }
  }
  return undefined;
}

function* elements(view: DataView, start: number, end: number): Generator<Element> {
  for (let at = start; at < end; ) {
    const id = variable(view, at, end, 4, false);
    const size = id && variable(view, at + id.length, end, 8, true);
    if (!id || !size) return;
    const first = at + id.length + size.length;
    const unknown = size.value === 2 ** (7 * size.length) - 1; // live streams: up to the end
    const last = unknown ? end : Math.min(end, first + size.value);
    yield { id: id.value, sizeAt: at + id.length, start: first, end: last, declared: unknown ? undefined : first + size.value };
    at = last;
  }
}

/** A number whose first byte tells by its leading zeros how many bytes it has. */
function variable(view: DataView, at: number, end: number, most: number, masked: boolean): { value: number; length: number } | undefined {
  if (at >= end) return undefined;
  const first = view.getUint8(at);
  const length = Math.clz32(first) - 23;
  if (length > most || at + length > end) return undefined;
  let value = masked ? first & (0xff >> length) : first;
  for (let i = 1; i < length; i++) value = value * 256 + view.getUint8(at + i);
  return { value, length };
}

function child(view: DataView, parent: Element, id: number): Element | undefined {
  for (const element of elements(view, parent.start, parent.end)) if (element.id === id) return element;
  return undefined;
}

function unsigned(view: DataView, element: Element | undefined): number | undefined {
  if (!element || element.end - element.start > 8) return undefined;
  let value = 0;
  for (let at = element.start; at < element.end; at++) value = value * 256 + view.getUint8(at);
  return value;
}

function float(view: DataView, element: Element | undefined): number {
  const size = element ? element.end - element.start : 0;
  return size === 4 ? view.getFloat32(element!.start) : size === 8 ? view.getFloat64(element!.start) : 0;
}

function videoOf(view: DataView, video: Element): MkvTrack {
  const result: MkvTrack = {};
  const value = (id: number, parent = video): number | undefined => unsigned(view, child(view, parent, id));
  const [width, height] = [value(0xb0) ?? 0, value(0xba) ?? 0];
  const [bottom, top, left, right] = [value(0x54aa) ?? 0, value(0x54bb) ?? 0, value(0x54cc) ?? 0, value(0x54dd) ?? 0];
  const shown = { left, top, width: width - left - right, height: height - top - bottom };
  const sensible = shown.width > 0 && shown.height > 0;
  if (sensible && (shown.width !== width || shown.height !== height)) result.aperture = shown;
  const [across, down] = [value(0x54b0) ?? shown.width, value(0x54ba) ?? shown.height];
  // Units 0 to 3 are pixels, centimetres, inches, an aspect; 4 is unknown.
  // The size is that of one view where two share a picture, side by side or one above the other; both are shown.
  const stereo = value(0x53b8) ?? 0;
  const [beside, above] = [[1, 8, 9, 11].includes(stereo) ? 2 : 1, [2, 3, 6, 7].includes(stereo) ? 2 : 1];
  if ((value(0x54b2) ?? 0) < 4 && sensible && across > 0 && down > 0)
    result.aspect = { num: across * beside * shown.height, den: down * above * shown.width };
  const colour = child(view, video, COLOUR);
  if (colour) {
    const range = value(0x55b9, colour) ?? 0;
    result.color = {
      matrix: value(0x55b1, colour) ?? 2,
      transfer: value(0x55ba, colour) ?? 2,
      fullRange: range === 1 ? false : range === 2 ? true : undefined,
    };
  }
  const projection = child(view, video, PROJECTION);
  if (projection && (value(0x7671, projection) ?? 0) === 0) {
    const [yaw, pitch, roll] = [0x7673, 0x7674, 0x7675].map((id) => float(view, child(view, projection, id))) as [number, number, number];
    const mirrored = Math.abs(yaw) === 180;
    if (pitch === 0 && (mirrored || yaw === 0)) result.pose = { roll, mirrored };
  }
  return result;
}
