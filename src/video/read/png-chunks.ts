/** A PNG file is a row of chunks, each with a check sum. They are walked before anything is inflated. */

export interface Chunk {
  /** Four letters; a small first one says that a reader may do without it. */
  type: string;
  data: Uint8Array;
}

export interface Walked {
  chunks: Chunk[];
  /** What is wrong with the file from where the chunks stop, where they stop before the end. */
  broken: string | undefined;
}

/**
 * The chunks after the signature, up to `IEND` or to where the file breaks. A chunk that a reader may do without is left out where its
 * sum is wrong, as browsers do.
 */
export function walkPng(bytes: Uint8Array): Walked {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const chunks: Chunk[] = [];
  for (let at = 8; ; ) {
    if (at + 8 > bytes.length) return { chunks, broken: "it ends before its last chunk (IEND)" };
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (!/^[A-Za-z]{4}$/.test(type)) return { chunks, broken: `there is no chunk where one should begin, at byte ${at}` };
    const end = at + 8 + length;
    if (end + 4 > bytes.length) return { chunks, broken: `it ends in the middle of a chunk (${type})` };
    const whole = crc32(bytes.subarray(at + 4, end)) === view.getUint32(end);
    const needed = type.charCodeAt(0) < 97;
    if (!whole && needed) return { chunks, broken: `the check sum of its chunk ${type} at byte ${at} is wrong` };
    if (whole) chunks.push({ type, data: bytes.subarray(at + 8, end) });
    if (type === "IEND") return { chunks, broken: undefined };
    at = end + 4;
  }
}

const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** The check sum of a chunk, over its type and data. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let at = 0; at < bytes.length; at++) crc = TABLE[(crc ^ bytes[at]!) & 255]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
