/** Films whose headers promise far more than there is: sizes, samples, nesting, lengths. */
import { join, u16, u32, type Bomb, type Draw } from "./bomb-pictures.ts";

type Part = Uint8Array | number[] | string;
export const box = (type: string, ...parts: Part[]): Uint8Array => {
  const body = join(...parts);
  return join(u32(body.length + 8), type, body);
};
const zeros = (count: number): number[] => new Array<number>(count).fill(0);
const MATRIX = [1, 0, 0, 0, 1, 0, 0, 0, 0x4000].flatMap((value, index) => (index === 8 ? u32(0x40000000) : u32(value * 65536)));

interface Promises {
  width?: number;
  height?: number;
  /** Bodies of the sample tables. */
  stts?: Part[];
  stsz?: Part[];
  stsc?: Part[];
  stco?: Part[];
  ctts?: Part[];
  elst?: Part[];
  timescale?: number;
  inside?: Uint8Array;
}

/** An MP4 with one track of H.264, and 16 bytes of data. */
function mp4({
  width = 64,
  height = 64,
  stts,
  stsz,
  stsc,
  stco,
  ctts,
  elst,
  timescale = 1000,
  inside = new Uint8Array(0),
}: Promises): Uint8Array {
  const full = zeros(4);
  const avcC = box("avcC", [
    1,
    0x42,
    0xc0,
    0x1e,
    0xff,
    0xe1,
    ...u16(8),
    0x67,
    0x42,
    0xc0,
    0x1e,
    0xd9,
    0x01,
    0x01,
    0x10,
    1,
    ...u16(4),
    0x68,
    0xce,
    0x3c,
    0x80,
  ]);
  const entry = box(
    "avc1",
    zeros(6),
    u16(1),
    zeros(16),
    u16(width),
    u16(height),
    u32(0x480000),
    u32(0x480000),
    zeros(4),
    u16(1),
    zeros(32),
    u16(24),
    [255, 255],
    avcC,
  );
  const tables = [
    box("stsd", full, u32(1), entry),
    box("stts", full, ...(stts ?? [u32(1), u32(1), u32(40)])),
    ...(ctts ? [box("ctts", full, ...ctts)] : []),
    box("stsc", full, ...(stsc ?? [u32(1), u32(1), u32(1), u32(1)])),
    box("stsz", full, ...(stsz ?? [u32(0), u32(1), u32(16)])),
    box("stco", full, ...(stco ?? [u32(1), u32(40)])),
  ];
  const media = box(
    "mdia",
    box("mdhd", full, zeros(8), u32(timescale), u32(40), u16(0x55c4), u16(0)),
    box("hdlr", full, zeros(4), "vide", zeros(12), "v\0"),
    box(
      "minf",
      box("vmhd", [0, 0, 0, 1], zeros(8)),
      box("dinf", box("dref", full, u32(1), box("url ", [0, 0, 0, 1]))),
      box("stbl", ...tables),
    ),
  );
  const track = box(
    "trak",
    box("tkhd", [0, 0, 0, 3], zeros(8), u32(1), zeros(4), u32(40), zeros(16), MATRIX, u32(width * 65536), u32(height * 65536)),
    ...(elst ? [box("edts", box("elst", full, ...elst))] : []),
    media,
  );
  return join(
    box("ftyp", "isom", u32(512), "isomavc1"),
    box("mdat", zeros(16)),
    box("moov", box("mvhd", full, zeros(8), u32(1000), u32(40), u32(65536), u16(256), zeros(10), MATRIX, zeros(24), u32(2)), track, inside),
  );
}

const HUGE = u32(2 ** 32 - 1);

function nested(depth: number, type: string): Uint8Array {
  const out = new Uint8Array(8 * depth);
  const view = new DataView(out.buffer);
  for (let level = 0; level < depth; level++) {
    view.setUint32(8 * level, 8 * (depth - level));
    out.set(Buffer.from(type, "latin1"), 8 * level + 4);
  }
  return out;
}

const MP4: Record<string, Bomb> = {
  "mp4 of 65535×65535": () => mp4({ width: 65535, height: 65535 }),
  "mp4 of 2³² samples of one size": () => mp4({ stsz: [u32(16), HUGE], stts: [u32(1), HUGE, u32(40)] }),
  "mp4 that says 2³² sizes": () => mp4({ stsz: [u32(0), HUGE] }),
  "mp4 that says 2³² times": () => mp4({ stts: [HUGE] }),
  "mp4 of 2³² times in one": () => mp4({ stts: [u32(1), HUGE, u32(0)] }),
  "mp4 of 1000 × 2³² times": () => mp4({ stts: [u32(1000), ...Array.from({ length: 1000 }, () => [...HUGE, ...u32(1)])] }),
  "mp4 of 2³² composition offsets": () => mp4({ ctts: [u32(1), HUGE, HUGE] }),
  "mp4 of 2³² chunks": () => mp4({ stco: [HUGE], stsc: [u32(1), u32(1), HUGE, u32(1)] }),
  "mp4 of 2³² samples a chunk": () => mp4({ stsc: [u32(1), u32(1), HUGE, u32(1)] }),
  "mp4 of 2³² edits": () => mp4({ elst: [HUGE] }),
  "mp4 with an edit of 2³²": () => mp4({ elst: [u32(1), HUGE, u32(0), u32(65536)] }),
  "mp4 with a time scale of 0": () => mp4({ timescale: 0 }),
  "mp4 of boxes 100,000 deep": () => mp4({ inside: nested(100_000, "trak") }),
  "mp4 of meta boxes 100,000 deep": () => join(box("ftyp", "isom", u32(512), "isom"), nested(100_000, "moov")),
  "mp4 with a box of 2⁶³ bytes": () =>
    join(box("ftyp", "isom", u32(512), "isom"), u32(1), "moov", [0x7f, 255, 255, 255, 255, 255, 255, 255]),
  "mp4 of 100,000 tracks": () =>
    join(box("ftyp", "isom", u32(512), "isom"), box("moov", Buffer.alloc(800_000, Buffer.from([0, 0, 0, 8, 0x74, 0x72, 0x61, 0x6b])))),
  "mp4 of 500,000 empty boxes": () =>
    join(box("ftyp", "isom", u32(512), "isom"), Buffer.alloc(4_000_000, Buffer.from([0, 0, 0, 8, 0x66, 0x72, 0x65, 0x65]))),
  "mp4 of fragments with 2³² samples": () =>
    join(
      mp4({ inside: box("mvex", box("trex", zeros(4), u32(1), u32(1), u32(1), u32(1), zeros(4))) }),
      ...Array.from({ length: 100 }, (_, index) =>
        box("moof", box("mfhd", zeros(4), u32(index)), box("traf", box("tfhd", [0, 2, 0, 0], u32(1)), box("trun", zeros(4), HUGE))),
      ),
    ),
};

const id = (value: number): number[] =>
  value > 0xffffff ? u32(value) : value > 0xffff ? u32(value).slice(1) : value > 0xff ? u16(value) : [value];
/** An EBML element with a size of eight bytes. */
const element = (name: number, ...parts: Part[]): Uint8Array => {
  const body = join(...parts);
  return join(id(name), [1, 0, 0, 0], u32(body.length), body);
};
/** One that says any size. */
const claims = (name: number, size: number[], ...parts: Part[]): Uint8Array => join(id(name), size, ...parts);
const UNKNOWN = [1, 255, 255, 255, 255, 255, 255, 255];
const VAST = [1, 255, 255, 255, 255, 255, 255, 254];
const ebml = element(0x1a45dfa3, element(0x4282, "webm"), element(0x4287, [4]), element(0x4285, [2]));
const info = element(0x1549a966, element(0x2ad7b1, u32(1_000_000)));
const track = (width: Part = u16(64), height: Part = u16(64)): Uint8Array =>
  element(
    0x1654ae6b,
    element(
      0xae,
      element(0xd7, [1]),
      element(0x73c5, [1]),
      element(0x83, [1]),
      element(0x86, "V_VP8"),
      element(0xe0, element(0xb0, width), element(0xba, height)),
    ),
  );
/** A key frame of VP8 in its first bytes only. */
const vp8 = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0, 0, 0];
const block = (flags: number, data: Part): Uint8Array => element(0xa3, [0x81, 0, 0, flags], data);
const webm = (...parts: Uint8Array[]): Uint8Array => join(ebml, element(0x18538067, info, track(), ...parts));

function nestedEbml(depth: number, name: number): Uint8Array {
  return Buffer.concat(new Array<Uint8Array>(depth).fill(join(id(name), UNKNOWN)));
}

const WEBM: Record<string, Bomb> = {
  "webm of 65535×65535": () =>
    join(ebml, element(0x18538067, info, track(u16(65535), u16(65535)), element(0x1f43b675, element(0xe7, [0]), block(0x80, vp8)))),
  "webm of 2⁶³ × 2⁶³": () =>
    join(
      ebml,
      element(
        0x18538067,
        info,
        track([127, 255, 255, 255, 255, 255, 255, 255], [127, 255, 255, 255, 255, 255, 255, 255]),
        element(0x1f43b675, element(0xe7, [0]), block(0x80, vp8)),
      ),
    ),
  "webm of unknown sizes": () =>
    join(
      claims(0x1a45dfa3, [0x93], [0x42, 0x82, 0x84], "webm", zeros(12)),
      claims(0x18538067, UNKNOWN, info, track(), claims(0x1f43b675, UNKNOWN, element(0xe7, [0]), block(0x80, vp8))),
    ),
  "webm of a size of 2⁵⁶": () => join(ebml, claims(0x18538067, VAST, claims(0x1654ae6b, VAST, claims(0xae, VAST, [0xd7, 0x81, 1])))),
  "webm with a block of 2⁵⁶": () =>
    join(ebml, claims(0x18538067, UNKNOWN, info, track(), claims(0x1f43b675, UNKNOWN, claims(0xa3, VAST, [0x81, 0, 0, 0x80], vp8)))),
  "webm of clusters 100,000 deep": () => webm(nestedEbml(100_000, 0x1f43b675)),
  "webm of tracks 100,000 deep": () => join(ebml, claims(0x18538067, UNKNOWN, nestedEbml(100_000, 0x1654ae6b))),
  "webm of 500,000 void elements": () => webm(Buffer.alloc(1_000_000, Buffer.from([0xec, 0x80]))),
  "webm of a million empty clusters": () => webm(Buffer.alloc(5_000_000, Buffer.from([0x1f, 0x43, 0xb6, 0x75, 0x80]))),
  "webm of 256 laced frames of vast sizes": () =>
    webm(
      element(
        0x1f43b675,
        element(0xe7, [0]),
        block(0x86, join([255], Buffer.alloc(2000, 0x01), vp8)),
        block(0x82, join([255], Buffer.alloc(4000, 255))),
        block(0x84, join([255], vp8)),
      ),
    ),
  "webm of a time scale of 0": () =>
    join(
      ebml,
      element(
        0x18538067,
        element(0x1549a966, element(0x2ad7b1, [0])),
        track(),
        element(0x1f43b675, element(0xe7, [255, 255, 255, 255, 255, 255, 255, 255]), block(0x80, vp8)),
      ),
    ),
  "webm whose cues go round": () =>
    webm(
      element(
        0x1c53bb6b,
        ...Array.from({ length: 5000 }, () => element(0xbb, element(0xb3, [0]), element(0xb7, element(0xf7, [1]), element(0xf1, [0])))),
      ),
      element(0x1f43b675, element(0xe7, [0]), block(0x80, vp8)),
    ),
  "webm whose index points to itself": () =>
    webm(
      element(
        0x114d9b74,
        ...Array.from({ length: 5000 }, () => element(0x4dbb, element(0x53ab, [0x11, 0x4d, 0x9b, 0x74]), element(0x53ac, [0]))),
      ),
    ),
};

/** A film's header with a vast number in one place of it. */
function spoiled(draw: Draw): Uint8Array {
  const film = draw() < 0.5 ? mp4({}) : webm(element(0x1f43b675, element(0xe7, [0]), block(0x80, vp8)));
  const at = 12 + Math.floor(draw() * (film.length - 20));
  film.fill(draw() < 0.7 ? 255 : 127, at, at + 1 + Math.floor(draw() * 8));
  return film;
}

export const FILM_BOMBS: Record<string, Bomb> = { ...MP4, ...WEBM, "a film with a vast number somewhere": spoiled };
