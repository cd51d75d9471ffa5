/**
 * The muxer writes when it was called into an MP4: seconds of the creation and of the last change, of the film, each track and its
 * media. One result is to be one file, byte for byte, whenever it is made; zero stands for a time that is not known.
 */

const CONTAINERS = new Set(["moov", "trak", "mdia"]);
const DATED = new Set(["mvhd", "tkhd", "mdhd"]);

/** Sets every date of an MP4 that was just written to zero, in place. */
export function clearDates(file: Uint8Array): void {
  clear(new DataView(file.buffer, file.byteOffset, file.byteLength), 0, file.byteLength);
}

function clear(view: DataView, from: number, to: number): void {
  for (let at = from; at + 8 <= to; ) {
    const type = String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at + 4, 4));
    const short = view.getUint32(at);
    // 1: the size follows in 64 bits; 0: up to the end.
    const size = short === 1 ? Number(view.getBigUint64(at + 8)) : short === 0 ? to - at : short;
    const body = at + (short === 1 ? 16 : 8);
    if (CONTAINERS.has(type)) clear(view, body, at + size);
    else if (DATED.has(type)) {
      // Version and flags, then both dates, of 32 bits each, or of 64 in version 1.
      const bytes = view.getUint8(body) === 1 ? 16 : 8;
      for (let i = 0; i < bytes; i++) view.setUint8(body + 4 + i, 0);
    }
    at += size;
  }
}
