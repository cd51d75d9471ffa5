/** What bytes are, told by what they begin with and by no name; also what cannot be read, so that it is refused by its own name. */

/** What a reader exists for. */
export type MediaKind = "film" | "gif" | "jpeg" | "png" | "webp";

/** What is recognised and not read. */
export interface Unreadable {
  /** What it is, for a message. */
  name: string;
  /** What to do about it. */
  remedy: string;
}

const PICTURE = "convert it to PNG or JPEG";
const RAW = "develop it to PNG or JPEG with a raw converter";
const FILM = "convert it to MP4 (`ffmpeg -i IN -c:v libx264 out.mp4`)";
const DOCUMENT = "export it as PNG";
const SOUND = "give a film or a picture";
const ARCHIVE = "unpack it, and give a file or a folder of pictures";
const PAGE = "it was perhaps saved in place of a picture (a login or an error page); download it again";

/** How the first kilobyte begins, as Latin-1; the first that fits counts. */
const SIGNATURES: readonly (readonly [begins: RegExp, kind: MediaKind | Unreadable])[] = (
  [
    [/^\x89PNG\r\n\x1a\n/, "png"],
    [/^\x89PNG|^\x09PNG\r?\n/, "a PNG whose line ends were changed on the way", "download or copy it again, in binary mode"],
    [/^\x8aMNG\r\n\x1a\n|^\x8bJNG\r\n\x1a\n/, "MNG", PICTURE],
    [/^GIF8[79]a/, "gif"],
    [/^\xff\xd8\xff\xf7/, "JPEG-LS", PICTURE],
    [/^\xff\xd8\xff/, "jpeg"],
    [/^RIFF[^]{4}WEBP/, "webp"],
    [/^RI(FF|FX)[^]{4}AVI |^RIFF[^]{4}AVIX/, "AVI", FILM],
    [/^(RIFF|RF64)[^]{4}WAVE/, "WAV sound", SOUND],
    [/^RIFF[^]{4}ACON/, "an animated cursor", PICTURE],
    [/^\x1aE\xdf\xa3/, "film"],
    [/^\0\0\0\x0cjP {2}\r\n\x87\n|^\xffO\xffQ/, "JPEG 2000", PICTURE],
    [/^\xff\x0a|^\0\0\0\x0cJXL \r\n\x87\n/, "JPEG XL", PICTURE],
    [/^\0\0\0\x0cjxsc|^II\xbc\x01/, "JPEG XR or JPEG XS", PICTURE],
    [/^BM[^]{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0/, "BMP", PICTURE],
    [/^II\*\0[^]{4}CR/, "a camera's raw file (CR2)", RAW],
    [/^FUJIFILMCCD-RAW|^IIRO|^IIRS|^MMOR|^IIU\0|^\0MRM|^FOVb|^II\x1a\0\0\0HEAP/, "a camera's raw file", RAW],
    [/^II\*\0|^MM\0\*|^II\+\0|^MM\0\+/, "TIFF, or a camera's raw file (DNG, NEF, ARW) built on it", PICTURE],
    [/^8BPS/, "PSD", DOCUMENT],
    [/^%PDF-/, "PDF", DOCUMENT],
    [/^%!PS|^\xc5\xd0\xd3\xc6/, "PostScript", DOCUMENT],
    [/^v\/1\x01/, "OpenEXR", PICTURE],
    [/^#\?(RADIANCE|RGBE)/, "Radiance HDR", PICTURE],
    [/^DDS /, "DDS", PICTURE],
    [/^\0\0[\x01\x02]\0[^]\0?[^]{2}[\0\x01]/, "ICO or CUR", PICTURE],
    [/^qoif/, "QOI", PICTURE],
    [/^FLIF/, "FLIF", PICTURE],
    [/^BPG\xfb/, "BPG", PICTURE],
    [/^gimp xcf/, "XCF", DOCUMENT],
    [/^SIMPLE {2}=/, "FITS", PICTURE],
    [/^P[1-7][\s#]|^Pf[\s#]|^PF[\s#]/i, "PNM", PICTURE],
    [/^\x0a[\0\x02\x03\x05]\x01[\x01\x02\x04\x08]/, "PCX", PICTURE],
    [/^FLV\x01/, "FLV", FILM],
    [/^OggS/, "Ogg", FILM],
    [/^0&\xb2u\x8ef\xcf\x11/, "ASF or WMV", FILM],
    [/^\0\0\x01\xba/, "an MPEG program stream (MPG, VOB)", FILM],
    [/^\0\0\x01\xb3/, "a bare MPEG video stream", FILM],
    [/^(\0\0\x01|\0\0\0\x01)(\x09|\x67|\x27|\x40|\x42)/, "a bare H.264 or H.265 stream, without a container", FILM],
    [/^\x47[^]{187}\x47[^]{187}\x47|^[^]{4}\x47[^]{191}\x47[^]{191}\x47/, "an MPEG transport stream (TS, M2TS)", FILM],
    [/^DKIF/, "IVF", FILM],
    [/^YUV4MPEG2 /, "Y4M", FILM],
    [/^\.RMF/, "RealMedia", FILM],
    // It may name any address: what it leads to is for its owner to fetch.
    [/^(\xef\xbb\xbf)?#EXTM3U/, "an HLS playlist, which only names parts of a film", "join them (`ffmpeg -i IN -c copy out.mp4`)"],
    [/^\x06\x0e\x2b\x34/, "MXF", FILM],
    [/^[FCZ]WS[\x01-\x40]/, "Flash", FILM],
    [/^ID3|^\xff[\xfb\xf3\xf2]/, "MP3 sound", SOUND],
    [/^fLaC/, "FLAC sound", SOUND],
    [/^\xff[\xf1\xf9]/, "AAC sound", SOUND],
    [/^version https:\/\/git-lfs/, "a pointer of git-lfs, without the file itself", "fetch the file with `git lfs pull`"],
    [/^data:(image|video)\//i, "a data: URL", "decode its base64 part, and give the bytes"],
    [/^[^]{5}\0{3}\{"|^[^]{4}\0{4}\{"/, "safetensors", "saved latents are given as --latents, weights as --model"],
    [/^\x93NUMPY/, "a NumPy array", PICTURE],
    [/^PK[\x03\x05][\x04\x06]/, "a ZIP archive", ARCHIVE],
    [/^\x1f\x8b|^7z\xbc\xaf|^Rar!|^\xfd7zXZ|^\x28\xb5\x2f\xfd|^BZh/, "an archive or a compressed file", ARCHIVE],
    [/^[^]{257}ustar/, "a TAR archive", ARCHIVE],
  ] as readonly (readonly [RegExp, MediaKind] | readonly [RegExp, string, string])[]
).map((row) => [row[0], row.length === 2 ? row[1] : { name: row[1], remedy: row[2] }] as const);

/** What `bytes` are; always an answer. */
export function sniff(bytes: Uint8Array): MediaKind | Unreadable {
  if (bytes.length === 0) return { name: "an empty file", remedy: "download or copy it again" };
  const boxes = boxesOf(bytes);
  if (boxes) return boxes;
  const head = latin1(bytes.subarray(0, 1024));
  for (const [begins, kind] of SIGNATURES) if (begins.test(head)) return kind;
  const markup = markupOf(head);
  if (markup) return markup;
  const unknown = { remedy: "give MP4, MOV, MKV, WebM, GIF, PNG, JPEG or WebP" };
  if (/^\0+$/.test(head)) return { name: "zeros", remedy: "the download or copy did not finish; repeat it" };
  if (/^(\xef\xbb\xbf)?[\t\n\r\x20-\x7e\x80-\xff]*$/.test(head)) return { ...unknown, name: `text ("${printable(head)}")` };
  const first = [...bytes.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return { ...unknown, name: `bytes of no kind that is known (${first}${bytes.length > 8 ? " …" : ""})` };
}

/**
 * SVG, HTML or other XML, by the first tag behind comments and declarations. They are stepped over one by one: a pattern that repeats
 * comments can part n of them in 2ⁿ ways, and tries all where nothing fits.
 */
function markupOf(head: string): Unreadable | undefined {
  let rest = head.replace(/^\xef\xbb\xbf/, "").trimStart();
  const text = { name: "XML or HTML text", remedy: PAGE };
  for (let open: string | undefined; (open = /^<!--|^<\?[a-z]/i.exec(rest)?.[0]); ) {
    const close = open === "<!--" ? "-->" : "?>";
    const end = rest.indexOf(close, open.length);
    if (end < 0) return text;
    rest = rest.slice(end + close.length).trimStart();
  }
  if (/^<svg[\s>]|^<!doctype svg\s/i.test(rest)) return { name: "SVG", remedy: DOCUMENT };
  if (/^<(!doctype html|html|head|body|script)[\s>]/i.test(rest)) return { name: "an HTML page", remedy: PAGE };
  return /^<(!doctype|[a-z]+)[\s>]/i.test(rest) ? text : undefined;
}

/** The kinds of box that a file of the MP4 and QuickTime family may begin with. */
const FIRST_BOXES = new Set([
  "ftyp",
  "styp",
  "moov",
  "moof",
  "mdat",
  "free",
  "skip",
  "wide",
  "pnot",
  "uuid",
  "pdin",
  "sidx",
  "udta",
  "prfl",
  "meta",
]);

/**
 * Files made of boxes: films, and AVIF and HEIF, which share their outermost layer and say by the brands of `ftyp` what they are. Of a
 * film, QuickTime puts anything in front: `wide`, `mdat`, `moov`, and no `ftyp` at all.
 */
function boxesOf(bytes: Uint8Array): MediaKind | Unreadable | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0, boxes = 0; at + 8 <= bytes.length && boxes < 16; boxes++) {
    const type = latin1(bytes.subarray(at + 4, at + 8));
    let size = view.getUint32(at);
    if (boxes === 0 && (!FIRST_BOXES.has(type) || (size > 1 && size < 8))) return undefined;
    if (type === "ftyp") return kindOfBrands(latin1(bytes.subarray(at + 8, at + Math.max(16, Math.min(size, 256)))));
    if (type === "moov" || size === 0) return "film";
    if (size === 1 && at + 16 <= bytes.length) size = Number(view.getBigUint64(at + 8));
    if (size < 8) return "film";
    at += size;
  }
  return bytes.length >= 8 && FIRST_BOXES.has(latin1(bytes.subarray(4, 8))) ? "film" : undefined;
}

/** `text`: the major brand, four bytes of version, the compatible brands. */
function kindOfBrands(text: string): MediaKind | Unreadable {
  const major = text.slice(0, 4);
  const compatible = text.slice(8).match(/[^]{4}/g) ?? [];
  const heif = { name: "HEIC or HEIF", remedy: `${PICTURE} (on a phone: share it as JPEG, or set the camera to "most compatible")` };
  const avif = { name: "AVIF", remedy: PICTURE };
  if (/^(avif|avis|avio)$/.test(major)) return avif;
  if (/^(hei[cxms]|hev[cxms])$/.test(major)) return heif;
  if (/^(mif[12]|msf1|miaf|MA1[AB]|pict)$/.test(major)) return compatible.some((brand) => /^avi[fso]$/.test(brand)) ? avif : heif;
  if (major === "crx ") return { name: "a camera's raw file (CR3)", remedy: RAW };
  if (/^jp[2xmh] $|^jpo[a-z]$/.test(major)) return { name: "JPEG 2000", remedy: PICTURE };
  if (major === "jxl ") return { name: "JPEG XL", remedy: PICTURE };
  if (/^M4[ABP] $|^aax[c ]?$|^F4[AB] $/.test(major)) return { name: "M4A sound", remedy: SOUND };
  return "film";
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

/** The beginning of a text for a message: one line, of plain characters. */
function printable(text: string): string {
  const line = text.replace(/[^\x20-\x7e]+/g, " ").trim();
  return line.length > 40 ? `${line.slice(0, 40)} …` : line;
}
