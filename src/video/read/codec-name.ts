/** What users call a codec, by what the file calls it. */

const NAMES: Record<string, string> = {
  avc: "H.264", hevc: "HEVC", vp8: "VP8", vp9: "VP9", av1: "AV1", prores: "ProRes",
  mp4v: "MPEG-4 Part 2", "V_MPEG4/ISO/ASP": "MPEG-4 Part 2", "V_MPEG4/ISO/SP": "MPEG-4 Part 2", "V_MPEG4/ISO/AP": "MPEG-4 Part 2", "V_MPEG4/MS/V3": "MPEG-4 of Microsoft",
  XVID: "MPEG-4 Part 2", DIVX: "MPEG-4 Part 2", "3IVX": "MPEG-4 Part 2", s263: "H.263", h263: "H.263", H263: "H.263",
  mp1v: "MPEG-1", mpeg: "MPEG-1", m1v: "MPEG-1", V_MPEG1: "MPEG-1", mp2v: "MPEG-2", m2v1: "MPEG-2", hdv1: "MPEG-2 (HDV)", hdv2: "MPEG-2 (HDV)", hdv3: "MPEG-2 (HDV)", V_MPEG2: "MPEG-2",
  jpeg: "Motion JPEG", mjpa: "Motion JPEG", mjpb: "Motion JPEG", MJPG: "Motion JPEG", AVDJ: "Motion JPEG", V_MJPEG: "Motion JPEG", mjp2: "JPEG 2000",
  apch: "ProRes", apcn: "ProRes", apcs: "ProRes", apco: "ProRes", ap4h: "ProRes 4444", ap4x: "ProRes 4444 XQ", V_PRORES: "ProRes", aprn: "ProRes RAW", aprh: "ProRes RAW",
  AVdn: "DNxHD", AVdh: "DNxHR", CFHD: "CineForm", FFV1: "FFV1", V_FFV1: "FFV1", V_THEORA: "Theora", V_DIRAC: "Dirac", drac: "Dirac", "V_VVC": "VVC (H.266)", vvc1: "VVC (H.266)", vvi1: "VVC (H.266)",
  png: "PNG", "rle": "QuickTime Animation", cvid: "Cinepak", SVQ1: "Sorenson Video 1", SVQ3: "Sorenson Video 3", smc: "QuickTime Graphics", rpza: "Apple Video", icod: "Apple Intermediate Codec",
  raw: "uncompressed pictures", "2vuy": "uncompressed pictures", yuv2: "uncompressed pictures", v210: "uncompressed pictures", v308: "uncompressed pictures", v408: "uncompressed pictures", v410: "uncompressed pictures", b48r: "uncompressed pictures", V_UNCOMPRESSED: "uncompressed pictures",
  dvc: "DV", dvcp: "DV", dvpp: "DVCPRO", dv5n: "DVCPRO 50", dv5p: "DVCPRO 50", dvh1: "DVCPRO HD or Dolby Vision", encv: "an encrypted codec", vc08: "VP8", "vc-1": "VC-1", WVC1: "VC-1", WMV3: "Windows Media Video 9", Hap1: "Hap", Hap5: "Hap Alpha", HapY: "Hap Q",
  "V_MS/VFW/FOURCC": "a codec of Video for Windows", V_QUICKTIME: "a codec of QuickTime", gif: "GIF", tiff: "TIFF", jxl: "JPEG XL", av02: "AV2", evc1: "EVC", apv1: "APV",
};

const OBJECT_TYPES: Record<number, string> = { 0x60: "MPEG-2", 0x61: "MPEG-2", 0x62: "MPEG-2", 0x63: "MPEG-2", 0x64: "MPEG-2", 0x65: "MPEG-2", 0x6a: "MPEG-1", 0x6c: "Motion JPEG", 0x6d: "PNG", 0x6e: "JPEG 2000" };

/** `codec` is the demuxer's name for it where it knows it, `id` the file's own: four letters, or Matroska's CodecID; `objectType` tells the codecs apart that MP4 calls `mp4v`. */
export function codecName(codec: string | null, id: string | number | Uint8Array | null, objectType?: number): string {
  const own = typeof id === "string" ? id.trim() : "";
  const name = (own === "mp4v" ? OBJECT_TYPES[objectType ?? 0x20] : undefined) ?? NAMES[own] ?? NAMES[codec ?? ""];
  // Ids come from the file: nothing but letters, digits and a few signs is shown.
  const shown = /^[\w/ .+-]{1,40}$/.test(own) ? own : "";
  if (name) return shown && shown !== name ? `${name} (${shown})` : name;
  return shown || "one without a name";
}
