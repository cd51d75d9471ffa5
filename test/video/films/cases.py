"""The films that are drawn: every container, codec, bit depth, sampling, matrix, range, orientation, edit list, pixel aspect and frame rate.

A case is a name and a function that writes the film with ffmpeg. Sources are small and saturated: what goes wrong with chroma shows.
"""

import struct
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

CODECS = {
    "h264": ["-c:v", "libx264", "-preset", "veryfast"],
    "hevc": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:pools=1"],
    "vp8": ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"],
    "vp9": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"],
    "av1": ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-crf", "20"],
}
CONTAINERS = {"h264": ["mp4", "mov", "mkv"], "hevc": ["mp4", "mov", "mkv"], "vp8": ["webm", "mkv"], "vp9": ["webm", "mkv", "mp4"], "av1": ["mkv", "webm", "mp4"]}
FORMATS = {
    "h264": ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "gray", "gray10le"],
    "hevc": ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le", "yuv444p12le", "gbrp", "gbrp10le", "gbrp12le", "gray", "gray10le"],
    "vp8": ["yuv420p"],
    "vp9": ["yuv420p", "yuv422p", "yuv440p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le", "yuv444p12le", "gbrp", "gbrp10le"],
    "av1": ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le", "yuv444p12le", "gbrp", "gray"],
}
MATRICES = {"bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "bt2020nc": 9}
# What has no name in the decoder package for Node, and what is no known matrix: refused in words.
REFUSED = {
    "hevc gray": "greyscale", "hevc gray10le": "greyscale", "av1 gray": "greyscale", "vp9 yuv440p": "4:4:0",
    "vp9 gbrp": "RGB", "vp9 gbrp10le": "RGB", "av1 gbrp": "RGB",
}


# Committed with ffmpeg's frames, for tests without Python or ffmpeg: one of each kind of fault.
FIXTURES = [
    "format/h264-yuv420p10le", "format/h264-yuv444p-full", "format/h264-gray", "format/h264-rgb", "format/hevc-yuv422p12le", "format/hevc-gbrp10le", "format/vp9-yuv420p10le-full", "format/av1-yuv444p10le",
    "format/hevc-gray", "format/vp9-yuv440p", "format/av1-gbrp",
    "matrix/h264-smpte240m-8", "matrix/h264-fcc-10-full", "matrix/hevc-bt2020nc-10", "matrix/av1-smpte170m-8", "matrix/h264-ycgco", "unsaid/h264-wide", "hdr/hevc-PQ",
    "container-color/h264-mp4", "container-color/h264-against", "container-color/vp9-mkv", "container-color/av1-mkv",
    "alpha/vp9-webm", "turned/90-mp4", "turned/270h-mkv", "turned/0v-mov", "turned/180-mkv", "aspect/35-24-mp4-90", "aspect/1-2-mkv-0", "aspect/stream-only",
    "edit/h264-from-0.7", "edit/h264-part", "edit/h264-two-backwards", "edit/h264-empty-first", "edit/h264-open-gop-copied", "aspect/stereo-left_right", "edit/hevc-open-gop", "edit/fragmented-delayed", "mixed/anywhere", "mixed/cut-off",
    "rate/mkv-h264", "interlaced/h264", "cropped/clap-mp4", "cropped/pixel-crop-mkv", "level/av1-31", "level/vp9-0", "level/h264-9", "size/vp8-3x5", "size/h264-6x10", "size/vp8-33x47", "size/vp9-97x81", "size/av1-33x47",
    "refused/mpeg2", "refused/mpeg4-mkv", "refused/prores", "refused/sound-only",
]


@dataclass
class Case:
    name: str
    kind: str
    file: str
    """Arguments of one ffmpeg that writes the film, without the name of the file; a second one copies it."""
    draw: list
    copy: list = field(default_factory=list)
    edit: object = None
    """A part of the message, where the film is to be refused; of a warning, where it is to be read with one."""
    refused: str | None = None
    warned: str | None = None
    least: float = 40.0


def source(size="96x80", frames=8, rate="10", filters="", kind="testsrc2"):
    graph = f"{kind}=size={size}:rate={rate},trim=end_frame={frames}" + (f",{filters}" if filters else "")
    return ["-f", "lavfi", "-i", graph]


def coded(codec, pix="yuv420p"):
    rgb = pix.startswith("gbr") or pix == "rgb24"
    args = ["-c:v", "libx264rgb"] if codec == "h264" and rgb else CODECS[codec]
    return [*args, "-pix_fmt", pix]


def all_cases():
    cases = []

    def add(kind, name, container, draw, **more):
        cases.append(Case(f"{kind}/{name}", kind, f"{kind}-{name}".replace("/", "-").replace(":", "_") + f".{container}", draw, **more))

    for codec, formats in FORMATS.items():
        for pix, full in product(formats, (False, True)):
            if full and (pix.startswith(("gbr", "gray")) or codec == "vp8"):
                continue
            filters = "scale=out_range=" + ("full" if full else "limited")
            add("format", f"{codec} {pix}{' full' if full else ''}".replace(" ", "-"), CONTAINERS[codec][0], [*source(filters=filters), *coded(codec, pix), "-color_range", "pc" if full else "tv"], refused=REFUSED.get(f"{codec} {pix}"))
        for container in CONTAINERS[codec]:
            add("container", f"{codec}-{container}", container, [*source(frames=12), *coded(codec)])
        add("long", codec, CONTAINERS[codec][0], [*source("176x144", 60, "25"), *coded(codec)])
        for size in ("97x81", "33x47", "130x66"):
            if codec in ("h264", "hevc") and size != "130x66":
                continue
            add("size", f"{codec}-{size}", CONTAINERS[codec][0], [*source("160x120", filters=f"scale={size.replace('x', ':')}"), *coded(codec)])
    for size in ("3x5", "5x3"):
        add("size", f"vp8-{size}", "webm", [*source("160x120", filters=f"scale={size.replace('x', ':')}"), *coded("vp8")])
    for size in ("2x4", "6x10", "12x14"):
        add("size", f"h264-{size}", "mp4", [*source("160x120", filters=f"scale={size.replace('x', ':')}"), *coded("h264")])
    # Levels without a number: "whatever there may be" in AV1, "not said" in VP9, 1b in H.264.
    add("level", "av1-31", "mp4", [*source(), *coded("av1")], edit=patched(b"av1C", 5, 0x1F))
    add("level", "vp9-0", "mp4", [*source(), *coded("vp9")], edit=patched(b"vpcC", 9, 0))
    add("level", "h264-9", "mp4", [*source(), *coded("h264")], edit=patched(b"avcC", 7, 9))
    add("level", "h264-stereo", "mkv", [*source(), *coded("h264")], edit=patched(b"\x01\x64\x00", 1, 118))
    add("format", "h264-rgb", "mp4", [*source(), *coded("h264", "rgb24")])
    add("format", "h264-rgb-lossless", "mkv", [*source(), *coded("h264", "rgb24"), "-qp", "0"], least=99)
    add("format", "h264-lossless", "mp4", [*source(), *coded("h264", "yuv444p"), "-qp", "0"], least=99)
    add("format", "h264-rgb-annexb", "mkv", [*source(), *coded("h264", "rgb24"), "-bsf:v", "dump_extra"])
    for pix, container in (("yuva420p", "webm"), ("yuva420p", "mkv")):
        for codec in ("vp8", "vp9"):
            add("alpha", f"{codec}-{container}", container, [*source(), *coded(codec, pix), "-auto-alt-ref", "0"])

    for (matrix, _), codec, depth, full in product(MATRICES.items(), ("h264", "hevc", "av1", "vp9"), (8, 10), (False, True)):
        if codec == "vp9" and matrix == "fcc":
            continue
        pix = "yuv420p" if depth == 8 else "yuv420p10le"
        filters = f"scale=out_color_matrix={matrix}:out_range={'full' if full else 'limited'}"
        add("matrix", f"{codec}-{matrix}-{depth}{'-full' if full else ''}", CONTAINERS[codec][0], [*source(filters=filters), *coded(codec, pix), "-colorspace", matrix, "-color_range", "pc" if full else "tv"])
    for name, size in (("sd", "720x576"), ("tall", "64x578"), ("wide", "1280x64"), ("narrow", "1278x64")):
        for codec in ("h264", "vp9", "vp8"):
            add("unsaid", f"{codec}-{name}", CONTAINERS[codec][0], [*source(size, 2), *coded(codec)])
    for codec, container in (("h264", "mp4"), ("h264", "mkv"), ("hevc", "mp4"), ("hevc", "mkv"), ("vp9", "mkv"), ("vp9", "mp4"), ("vp8", "mkv"), ("av1", "mkv"), ("av1", "mp4")):
        # Said by the container alone, which does not hold where the stream has a word on it.
        add("container-color", f"{codec}-{container}", container, [*source(), *coded(codec)], copy=["-c", "copy", "-colorspace", "smpte240m", "-color_range", "pc", "-color_primaries", "bt709", "-color_trc", "bt709", *(["-movflags", "+write_colr"] if container == "mp4" else [])])
    for codec in ("h264", "hevc"):
        add("container-color", f"{codec}-against", "mp4", [*source(), *coded(codec), "-colorspace", "bt709", "-color_range", "tv"], copy=["-c", "copy", "-colorspace", "smpte240m", "-color_range", "pc", "-movflags", "+write_colr"])
    add("matrix", "h264-ycgco", "mp4", [*source(filters="setparams=colorspace=ycgco"), *coded("h264")], refused="YCgCo")
    add("matrix", "h264-bt2020c", "mp4", [*source(), *coded("h264"), "-bsf:v", "h264_metadata=matrix_coefficients=10"], refused="constant luminance")
    for transfer, said in (("smpte2084", "PQ"), ("arib-std-b67", "HLG")):
        for codec in ("hevc", "vp9", "av1", "h264"):
            add("hdr", f"{codec}-{said}", "mkv", [*source(filters=f"setparams=colorspace=bt2020nc:color_trc={transfer}:color_primaries=bt2020"), *coded(codec, "yuv420p10le")], warned=said)
    for location, codec in product(("left", "center", "topleft", "top", "bottomleft"), ("h264", "hevc", "vp9")):
        add("siting", f"{codec}-{location}", "mkv", [*source(), *coded(codec), "-chroma_sample_location", location])
    for location in ("left", "topleft"):
        add("siting", f"av1-{location}", "mkv", [*source(), *coded("av1"), "-chroma_sample_location", location])
        add("siting", f"h264-422-{location}", "mp4", [*source(), *coded("h264", "yuv422p"), "-chroma_sample_location", location])

    for rotation, flip, container in product((0, 90, 180, 270), ("", "h", "v"), ("mp4", "mov", "mkv")):
        options = ["-display_rotation", str(rotation), *(["-display_hflip"] if flip == "h" else ["-display_vflip"] if flip == "v" else [])]
        add("turned", f"{rotation}{flip}-{container}", container, [*source("96x48", 3), *coded("h264")], copy=[*options, "-c", "copy"])
    for sar, container, rotation in product(("35/24", "12/11", "1/2", "64/45", "3/4"), ("mp4", "mkv"), (0, 90)):
        add("aspect", f"{sar.replace('/', '-')}-{container}-{rotation}", container, [*source("72x64", 3, filters=f"setsar={sar}"), *coded("h264")], copy=["-display_rotation", str(rotation), "-c", "copy"])
    add("aspect", "vp9-webm", "webm", [*source("72x64", 3, filters="setsar=4/3"), *coded("vp9")])
    for mode in ("left_right", "top_bottom"):
        add("aspect", f"stereo-{mode}", "mkv", [*source("72x64", 3), *coded("h264"), "-metadata:s:v", f"stereo_mode={mode}"])
    add("aspect", "stream-only", "mp4", [*source("72x64", 3, filters="setsar=4/3"), *coded("h264")], edit=hide(b"pasp"))
    add("aspect", "container-only", "mp4", [*source("72x64", 3), *coded("h264")], copy=["-aspect", "2:1", "-c", "copy"])

    for start in ("0.3", "0.7", "1.13", "1.5"):
        for codec in ("h264", "hevc", "av1", "vp9"):
            add("edit", f"{codec}-from-{start}", "mp4", [*source("64x64", 40, "25"), *coded(codec), "-g", "16"], copy=[], edit=trim(float(start), None))
    add("edit", "h264-part", "mp4", [*source("64x64", 40, "25"), *coded("h264"), "-g", "16", "-bf", "3"], edit=trim(0.4, 0.6))
    add("edit", "h264-part-mov", "mov", [*source("64x64", 40, "25"), *coded("h264"), "-g", "16", "-bf", "3"], edit=trim(0.44, 0.36))
    add("edit", "h264-empty-first", "mp4", [*source("64x64", 20, "25"), *coded("h264"), "-g", "8", "-bf", "2"], edit=edits([(None, 0.5), (0.08, 10.0)]))
    add("edit", "h264-two", "mp4", [*source("64x64", 40, "25"), *coded("h264"), "-g", "16", "-bf", "2"], edit=edits([(0.2, 0.2), (0.96, 0.24)]))
    add("edit", "h264-two-backwards", "mp4", [*source("64x64", 40, "25"), *coded("h264"), "-g", "16", "-bf", "2"], edit=edits([(0.96, 0.24), (0.2, 0.2)]))
    add("edit", "h264-copied", "mp4", [*source("64x64", 40, "25"), *coded("h264"), "-g", "16"], copy=["-ss", "0.5", "-c", "copy"])
    add("edit", "h264-copied-mkv", "mkv", [*source("64x64", 40, "25"), *coded("h264"), "-g", "16"], copy=["-ss", "0.5", "-c", "copy"])
    add("edit", "h264-open-gop", "mp4", [*source("64x64", 40, "25"), *CODECS["h264"], "-pix_fmt", "yuv420p", "-x264-params", "open-gop=1:keyint=12:bframes=3"], edit=trim(0.6, 0.5))
    add("edit", "h264-open-gop-copied", "mkv", [*source("64x64", 40, "25"), *CODECS["h264"], "-pix_fmt", "yuv420p", "-x264-params", "open-gop=1:keyint=12:bframes=3"], copy=["-ss", "0.7", "-c", "copy"])
    add("edit", "hevc-open-gop", "mp4", [*source("64x64", 40, "25"), "-c:v", "libx265", "-x265-params", "log-level=none:open-gop=1:keyint=12:bframes=3", "-pix_fmt", "yuv420p"], edit=trim(0.6, 0.5))
    add("edit", "fragmented", "mp4", [*source("64x64", 40, "25"), *coded("h264"), "-g", "16", "-movflags", "frag_keyframe+empty_moov"])
    add("edit", "fragmented-delayed", "mp4", [*source("64x64", 40, "25"), *coded("h264"), "-g", "16", "-bf", "3", "-movflags", "frag_keyframe+delay_moov"])
    # Not all in fragments: the first samples are in the index, and fragments begin at a key frame, anywhere, or with each frame.
    for name, flags in (("keys", ["frag_keyframe"]), ("anywhere", ["frag_custom", "-frag_duration", "300000"]), ("absolute", ["frag_keyframe+separate_moof"]), ("relative", ["frag_keyframe+default_base_moof"])):
        add("mixed", name, "mp4", [*source("64x64", 40, "25"), *coded("h264"), "-g", "16", "-bf", "3", "-movflags", *flags])
    add("mixed", "every-mov", "mov", [*source("64x64", 40, "25"), *coded("h264"), "-g", "16", "-bf", "3", "-movflags", "frag_every_frame"])
    add("mixed", "cut-off", "mp4", [*source("64x64", 40, "25"), *coded("h264"), "-g", "16", "-bf", "3", "-movflags", "frag_custom", "-frag_duration", "300000"], edit=cut(0.6), warned="cut off")

    for container, codec in (("mp4", "h264"), ("mkv", "h264"), ("webm", "vp9"), ("mkv", "av1")):
        add("rate", f"{container}-{codec}", container, [*source("64x64", 24, "25", filters="select='not(mod(n\\,3))+lt(n\\,7)+eq(n\\,16)'"), "-fps_mode", "passthrough", *coded(codec)])
    add("rate", "120-mp4", "mp4", [*source("64x64", 30, "120"), *coded("h264")])
    add("rate", "29.97-mkv", "mkv", [*source("64x64", 30, "30000/1001"), *coded("h264")])
    add("interlaced", "h264", "mp4", [*source("96x80", 12, "50", filters="tinterlace=interleave_top,fieldorder=tff"), *CODECS["h264"], "-pix_fmt", "yuv420p", "-flags", "+ilme+ildct", "-x264-params", "tff=1"])
    add("interlaced", "h264-mkv", "mkv", [*source("96x96", 12, "50", filters="tinterlace=interleave_top,fieldorder=tff"), *CODECS["h264"], "-pix_fmt", "yuv420p", "-flags", "+ilme+ildct", "-x264-params", "tff=1"])
    add("cropped", "clap-mp4", "mp4", [*source("96x80", 3), *coded("h264")], edit=clean_aperture(80, 64, 2, -4))
    add("cropped", "pixel-crop-mkv", "mkv", [*source("96x80", 3), *coded("h264")], edit=pixel_crop(left=8, top=4, right=6, bottom=10))

    for at in (0.3, 0.55, 0.9):
        for container, codec in (("mp4", "h264"), ("mkv", "vp9"), ("webm", "vp8")):
            add("cut-off", f"{container}-{at}", container, [*source("96x80", 50, "25"), *coded(codec), *(["-movflags", "+faststart"] if container == "mp4" else [])], edit=cut(at), warned="cut off")

    add("refused", "mpeg4", "mp4", [*source(frames=2), "-c:v", "mpeg4"], refused="MPEG-4 Part 2")
    add("refused", "mpeg4-mkv", "mkv", [*source(frames=2), "-c:v", "mpeg4"], refused="MPEG-4 Part 2")
    add("refused", "mpeg2", "mp4", [*source(frames=2, rate="25"), "-c:v", "mpeg2video"], refused="MPEG-2")
    add("refused", "mpeg2-mkv", "mkv", [*source(frames=2, rate="25"), "-c:v", "mpeg2video"], refused="MPEG-2")
    add("refused", "mjpeg", "mov", [*source(frames=2), "-c:v", "mjpeg"], refused="Motion JPEG")
    add("refused", "prores", "mov", [*source("32x32", 1), "-c:v", "prores"], refused="ProRes")
    add("refused", "dnxhd", "mov", [*source("1280x720", 2, "25"), "-c:v", "dnxhd", "-b:v", "90M", "-pix_fmt", "yuv422p"], refused="DNx")
    add("refused", "ffv1", "mkv", [*source(frames=2), "-c:v", "ffv1"], refused="FFV1")
    add("refused", "png", "mov", [*source(frames=2), "-c:v", "png"], refused="PNG")
    add("refused", "raw", "mov", [*source(frames=2), "-c:v", "rawvideo", "-pix_fmt", "uyvy422"], refused="uncompressed")
    add("refused", "theora", "mkv", [*source(frames=2), "-c:v", "libtheora"], refused="Theora")
    add("refused", "sound-only", "mp4", ["-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac"], refused="video track")
    add("refused", "avi", "avi", [*source(frames=2), "-c:v", "mpeg4"], refused="AVI")
    add("refused", "mpegts", "ts", [*source(frames=2, rate="25"), "-c:v", "mpeg2video"], refused="MPEG")
    add("refused", "mpegps", "mpg", [*source(frames=2, rate="25"), "-c:v", "mpeg2video"], refused="MPEG")
    add("refused", "flv", "flv", [*source(frames=2), "-c:v", "flv1"], refused="FLV")
    return cases


def boxes(data, start=0, end=None):
    at, end = start, len(data) if end is None else end
    while at + 8 <= end:
        size, header = struct.unpack(">I", data[at : at + 4])[0], 8
        if size == 1:
            size, header = struct.unpack(">Q", data[at + 8 : at + 16])[0], 16
        size = size or end - at
        yield data[at + 4 : at + 8], at + header, at + size
        at += size


def find(data, *path):
    start, end = 0, len(data)
    for name in path:
        start, end = next((s, e) for type_, s, e in boxes(data, start, end) if type_ == name)
    return start, end


def edits(wanted):
    """Another edit list: pairs of (first second of the media or None for a pause, seconds). The index has to be at the end, or offsets would move."""

    def change(path):
        data = bytearray(Path(path).read_bytes())
        moov, moov_end = find(data, b"moov")
        assert moov_end == len(data), "moov must be last"
        scale = struct.unpack(">I", data[find(data, b"moov", b"mvhd")[0] + 12 :][:4])[0]
        media = struct.unpack(">I", data[find(data, b"moov", b"trak", b"mdia", b"mdhd")[0] + 12 :][:4])[0]
        start, end = find(data, b"moov", b"trak", b"edts", b"elst")
        # Times of the media begin where the edit list that ffmpeg wrote begins: behind what B-frames need.
        zero = struct.unpack(">i", data[start + 12 : start + 16])[0]
        rows = b"".join(struct.pack(">IiI", round(seconds * scale), -1 if begin is None else zero + round(begin * media), 65536) for begin, seconds in wanted)
        body = struct.pack(">II", 0, len(wanted)) + rows
        new = struct.pack(">I", 8 + len(body)) + b"elst" + body
        grown = len(new) - (end - start + 8)
        data[start - 8 : end] = new
        for path_ in ((b"moov",), (b"moov", b"trak"), (b"moov", b"trak", b"edts")):
            at = find_header(data, *path_)
            data[at : at + 4] = struct.pack(">I", struct.unpack(">I", data[at : at + 4])[0] + grown)
        Path(path).write_bytes(data)

    return change


def find_header(data, *path):
    start, end = 0, len(data)
    at = 0
    for name in path:
        position = start
        while data[position + 4 : position + 8] != name:
            position += struct.unpack(">I", data[position : position + 4])[0]
        at, start = position, position + 8
    return at


def trim(start, length):
    return edits([(start, length if length is not None else 1000.0)])


def hide(name):
    def change(path):
        data = Path(path).read_bytes()
        assert name in data
        Path(path).write_bytes(data.replace(name, b"free", 1))

    return change


def patched(name, offset, value):
    """Another byte, so many behind the place where a name is."""

    def change(path):
        data = bytearray(Path(path).read_bytes())
        data[data.index(name) + offset] = value
        Path(path).write_bytes(data)

    return change


def cut(share):
    def change(path):
        data = Path(path).read_bytes()
        Path(path).write_bytes(data[: int(len(data) * share)])

    return change


def elements(data, start, end):
    """Id, its position, position of the size, first byte of the contents, end."""
    at = start
    while at < end:
        id_length = 9 - data[at].bit_length()
        size_at = at + id_length
        size_length = 9 - data[size_at].bit_length()
        size = int.from_bytes(data[size_at : size_at + size_length], "big") & ((1 << 7 * size_length) - 1)
        yield data[at : at + id_length].hex(), size_at, size_at + size_length, min(end, size_at + size_length + size)
        at = size_at + size_length + size


def pixel_crop(left, top, right, bottom):
    """Matroska's cropping, into the Video element of the first track."""

    def change(path):
        data = bytearray(Path(path).read_bytes())
        extra = b"".join(struct.pack(">HB", id_, 0x81) + bytes([value]) for id_, value in ((0x54CC, left), (0x54BB, top), (0x54DD, right), (0x54AA, bottom)))
        start, end, sizes = 0, len(data), []
        for wanted in ("18538067", "1654ae6b", "ae", "e0"):
            size_at, start, end = next((a, s, e) for id_, a, s, e in elements(data, start, end) if id_ == wanted)
            sizes.append(size_at)
        # ffmpeg writes a display size, which is that of the part that is shown.
        for id_, size_at, first, last in list(elements(data, start, end)):
            if id_ == "54b0":
                data[first:last] = (int.from_bytes(data[first:last], "big") - left - right).to_bytes(last - first, "big")
            if id_ == "54ba":
                data[first:last] = (int.from_bytes(data[first:last], "big") - top - bottom).to_bytes(last - first, "big")
        data[end:end] = extra
        for at in sizes:
            grow(data, at, len(extra))
        Path(path).write_bytes(data)

    return change


def clean_aperture(width, height, x, y):
    """A clap box into the sample description of an MP4 whose index is at the end: size of the part, and its centre's distance from the middle."""

    def change(path):
        data = bytearray(Path(path).read_bytes())
        box = struct.pack(">I4s8i", 40, b"clap", width, 1, height, 1, x, 1, y, 1)
        path_ = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
        entry = find(data, *path_)[0]  # behind the box's header: version and count, then the entry
        at = entry + 8
        end = at + struct.unpack(">I", data[at : at + 4])[0]
        headers = [find_header(data, *path_[: n + 1]) for n in range(len(path_))] + [at]
        data[end:end] = box
        for header in headers:
            data[header : header + 4] = struct.pack(">I", struct.unpack(">I", data[header : header + 4])[0] + len(box))
        Path(path).write_bytes(data)

    return change


def grow(data, at, by):
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    data[at : at + length] = (value + by).to_bytes(length, "big")
