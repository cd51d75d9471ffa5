import { describe, expect, it } from "vitest";
import { sniff } from "../../../src/video/read/sniff.ts";
import { readAll } from "./drawn.ts";

/** Latin-1, padded with zeros. */
const bytes = (text: string, length = 0): Uint8Array => {
  const out = new Uint8Array(Math.max(length, text.length));
  out.set([...text].map((letter) => letter.charCodeAt(0)));
  return out;
};
const box = (type: string, body = ""): string => String.fromCharCode(0, 0, 0, 8 + body.length) + type + body;
const ftyp = (major: string, ...compatible: string[]): string => box("ftyp", `${major}\0\0\x02\0${compatible.join("")}`);

describe("what is read", () => {
  it.each<[string, string, string]>([
    ["MP4", ftyp("isom", "isom", "iso2", "avc1", "mp41"), "film"],
    ["an iPhone's MOV", ftyp("qt  ", "qt  "), "film"],
    ["QuickTime without ftyp", box("wide") + box("mdat", "abc"), "film"],
    ["QuickTime with moov in front", box("moov", box("mvhd")), "film"],
    ["QuickTime with mdat of 64 bits in front", "\0\0\0\x01mdat\0\0\0\0\0\0\0\x10" + box("moov"), "film"],
    ["MP4 with free in front", box("free", "xxxx") + ftyp("mp42", "isom"), "film"],
    ["a fragment", box("styp", "msdh\0\0\0\0msdh"), "film"],
    ["3GP", ftyp("3gp4", "isom"), "film"],
    ["Matroska", "\x1aE\xdf\xa3\x93B\x82\x88matroska", "film"],
    ["GIF", "GIF89a\x01\0\x01\0", "gif"],
    ["PNG", "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "png"],
    ["JPEG", "\xff\xd8\xff\xe0\0\x10JFIF\0", "jpeg"],
    ["JPEG that begins with EXIF", "\xff\xd8\xff\xe1\0\x10Exif\0\0", "jpeg"],
    ["WebP", "RIFF\x10\0\0\0WEBPVP8 ", "webp"],
  ])("%s", (_, text, kind) => expect(sniff(bytes(text))).toBe(kind));
});

describe("what is not read is named, with what to do", () => {
  it.each<[string, string, RegExp, RegExp]>([
    ["AVIF", ftyp("avif", "mif1", "miaf"), /^AVIF$/, /PNG or JPEG/],
    ["AVIF by its compatible brands", ftyp("mif1", "miaf", "avif"), /^AVIF$/, /PNG or JPEG/],
    ["AVIF that moves", ftyp("avis", "msf1", "iso8"), /^AVIF$/, /PNG or JPEG/],
    ["HEIC", ftyp("heic", "mif1", "heic"), /^HEIC or HEIF$/, /share it as JPEG/],
    ["HEIF", ftyp("mif1", "heic"), /^HEIC or HEIF$/, /share it as JPEG/],
    ["CR3", ftyp("crx ", "isom"), /CR3/, /raw converter/],
    ["M4A", ftyp("M4A ", "isom"), /sound/, /film or a picture/],
    ["JPEG XL", "\0\0\0\x0cJXL \r\n\x87\n", /^JPEG XL$/, /PNG or JPEG/],
    ["a bare JPEG XL", "\xff\x0a\x00", /^JPEG XL$/, /PNG or JPEG/],
    ["JPEG 2000", "\0\0\0\x0cjP  \r\n\x87\n", /^JPEG 2000$/, /PNG or JPEG/],
    ["a bare JPEG 2000", "\xff\x4f\xff\x51\0", /^JPEG 2000$/, /PNG or JPEG/],
    ["JPEG-LS", "\xff\xd8\xff\xf7\0", /^JPEG-LS$/, /PNG or JPEG/],
    ["BMP", "BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", /^BMP$/, /PNG or JPEG/],
    ["TIFF", "II*\0\x08\0\0\0", /TIFF/, /PNG or JPEG/],
    ["a Nikon's raw file", "MM\0*\0\0\0\x08", /TIFF, or a camera's raw file/, /PNG or JPEG/],
    ["CR2", "II*\0\x10\0\0\0CR\x02\0", /CR2/, /raw converter/],
    ["RAF", "FUJIFILMCCD-RAW 0201", /raw file/, /raw converter/],
    ["PSD", "8BPS\0\x01", /PSD/, /export/],
    ["PDF", "%PDF-1.7", /PDF/, /export/],
    ["OpenEXR", "v/1\x01\x02\0\0\0", /OpenEXR/, /PNG or JPEG/],
    ["SVG", `<svg xmlns="http://www.w3.org/2000/svg">`, /^SVG$/, /export/],
    ["SVG behind an XML line", `<?xml version="1.0"?>\n<!-- x -->\n<svg>`, /^SVG$/, /export/],
    [
      "SVG by its document type",
      `\xef\xbb\xbf<?xml version="1.0"?><!-- a --> <!-- b --><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" [<!ENTITY x "y">]><svg>`,
      /^SVG$/,
      /export/,
    ],
    ["a page behind comments", "<!-- a --><!----> <!-- <svg > -->\n<html lang=en>", /HTML page/, /login/],
    ["a page of XML", `<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN"><html>`, /HTML page/, /login/],
    ["a feed", `<?xml version="1.0"?><?xml-stylesheet href="a"?><rss>`, /XML or HTML/, /login/],
    ["a long comment", `<!-- ${"-".repeat(2000)}`, /XML or HTML/, /login/],
    ["AVI", "RIFF\x10\0\0\0AVI LIST", /^AVI$/, /ffmpeg/],
    ["MPEG-PS", "\0\0\x01\xba\x44", /MPEG program/, /ffmpeg/],
    ["MPEG-TS", `G${"\0".repeat(187)}G${"\0".repeat(187)}G`, /transport stream/, /ffmpeg/],
    ["M2TS", `\0\0\0\0G${"\0".repeat(191)}G${"\0".repeat(191)}G`, /transport stream/, /ffmpeg/],
    ["FLV", "FLV\x01\x05", /^FLV$/, /ffmpeg/],
    ["HLS", "#EXTM3U\n#EXT-X-VERSION:3\n", /^an HLS playlist/, /ffmpeg -i IN -c copy/],
    ["HLS with a byte order mark", "\xef\xbb\xbf#EXTM3U\r\n", /^an HLS playlist/, /ffmpeg/],
    ["Ogg", "OggS\0\x02", /^Ogg$/, /ffmpeg/],
    ["WMV", "0&\xb2u\x8ef\xcf\x11", /WMV/, /ffmpeg/],
    ["a bare H.264 stream", "\0\0\0\x01\x67\x64", /without a container/, /ffmpeg/],
    ["a login page", "\n<!DOCTYPE html><html><title>Sign in", /HTML page/, /login/],
    ["a git-lfs pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", /git-lfs/, /git lfs pull/],
    ["safetensors", `\x50\0\0\0\0\0\0\0{"__metadata__"`, /^safetensors$/, /--latents/],
    ["ZIP", "PK\x03\x04\x14", /ZIP/, /unpack/],
    ["a PNG in text mode", "\x89PNG\n\x1a\n\0", /line ends/, /binary/],
    ["text", "hello there", /^text \("hello there"\)$/, /MP4/],
    ["zeros", "\0\0\0\0\0\0\0\0\0\0\0\0", /zeros/, /did not finish/],
    ["nothing", "", /empty/, /again/],
    ["bytes of no kind", "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x01", /no kind that is known \(01 02 03 04 05 06 07 08 …\)/, /MP4/],
  ])("%s", async (_, text, name, remedy) => {
    const found = sniff(bytes(text));
    expect(found).toMatchObject({ name: expect.stringMatching(name) as string, remedy: expect.stringMatching(remedy) as string });
    await expect(readAll(bytes(text))).rejects.toThrow(/^\[video\] a file must be a film or a picture that can be read here, got .+; .+/);
  });
});

it("is an answer at once to many comments, whatever they stand before", () => {
  for (const end of ["x", "<div>", "<p", "", "<?xml", "<!DOCTYPE svg"]) {
    const begun = performance.now();
    sniff(bytes(`${"<!---->".repeat(140)}${end}`));
    sniff(bytes(`<?xml?>${"<!-- -->\n".repeat(100)}${end}`));
    expect(performance.now() - begun, end).toBeLessThan(500);
  }
});

it("is an answer for all beginnings", () => {
  for (let seed = 0; seed < 2000; seed++) {
    const random = Uint8Array.from({ length: seed % 40 }, (_, index) => Math.imul(seed * 40 + index + 1, 2654435761) >>> 24);
    const found = sniff(random);
    expect(typeof found === "string" || found.name.length > 0).toBe(true);
  }
});
