"""Draws random PNG, GIF, JPEG and WebP files, still and moving, with every variant of the formats that Pillow reads right, and writes what Pillow reads:

    python test/video/pictures/draw.py --seed 1 --count 500 OUT.json
    python test/video/pictures/draw.py --write     the few that are committed, pictures.json

`npm run fuzz -- pictures` compares the product with it. Needs Pillow and NumPy; node test/reference/run.mjs pictures … has them.
A picture is read as diffusers' load_image reads it: turned by its EXIF orientation (ImageOps.exif_transpose), as RGB with its alpha dropped.
"""
import argparse, base64, io, json, os, random, struct, sys, warnings, zlib
import numpy as np
from PIL import Image, ImageOps

warnings.filterwarnings("ignore")

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
# Halved in the other direction and quartered: made by ffmpeg, since Pillow does not write them.
SAMPLED = {
    "440": "eNr7f+P/bQZnBg4BAWEBYTEwkJKQkpaWlgICICUrK6ukpAQkQUwFBSUlVTVVZWUlZTU1DQ0NAwM9PQsLK1fX4P9HGBcxMDCyMoIBAxQwMjGzsLKxc3BycTMyMDPCAIakAAMTIzMzEwszKysLC1CmFijHwCLIKqRo6MgmHJjIrlQoYtQ4cSGHstPGg6JBFz+oGCcVNXFyiYlLSEqpqqlraGqZmJqZW1haObu4url7eHoFh4SGhUdERiWnpKalZ2RmFZeUlpVXVFY1t7S2tXd0dk2aPGXqtOkzZs5atHjJ0mXLV6xctWnzlq3btu/YuevQ4SNHjx0/cfLUpctXrl67fuPmrYePHj95+uz5i5evPn76/OXrt+8/fv4SBDqZiYWFmYUd5GRGpnKQfwRZWBUN2YQcA9kTC4WVjBo5RJwmLtx4kFPZOOiDaFLRRS4xFZOHqh9BrgY7mjg3N5HlaLib4U7+f4BBkINBmEGWmVGIgUmIgVmI4f8tBh5mRgYmQWZBBnuG16r7vVN4Dvb52cWkL/yqfGnPNe8FFRb2cdmThZet+Roi6nupbuH0B6+SVlk4HjWVy696GWmyS/3Ota8aZi9PBZRtfXQndndGyeWsjZ4XU/5M/8/QtS5WVv5H+CfRD+vM7d4+VPyz+p37veBTHwV+h+z7Wf+J/dmnM4aB/xmmf93/IeU/w5m+IPVzxj+u+/LuyGvgX7B+yqKttj8DA25G/H4TKvlwZ+WdeNO3ab+id8WePx9ntja6+Mqct9tNZm9fevNA7czV11onfFn3q9hTTnjlqWrhq3M+zr342P/axF/XdztEFF9Y1x5zc9srja2vtF9MOxwtLxkpGvGV2/HStMtbK75eDD1vZt1059Vxr8B46eDCK3e+r9yeGHzj/00AqRdL5g==",
    "411": "eNr7f+P/bQZnBg4BAWEBYTEwkJKQkpaWlgICICUrK6ukpAQkQUwFBSUlVTVVZWUlZTU1DQ0NAwM9PQsLK1fX4P9HGBcxMDCyMoIBAxQwMjGzsLKxc3BycTMyMDPCAIakAAMTIzMzEwszKysLC1CmFijHwCLIKqRo6MgmHJjIrlQoYtQ4cSGHstPGg6JBFz+oGCcVNXFyiYlLSEqpqqlraGqZmJqZW1haObu4url7eHoFh4SGhUdERiWnpKalZ2RmFZeUlpVXVFY1t7S2tXd0dk2aPGXqtOkzZs5atHjJ0mXLV6xctWnzlq3btu/YuevQ4SNHjx0/cfLUpctXrl67fuPmrYePHj95+uz5i5evPn76/OXrt+8/fv4SBDqZiYWFmYUd5GRGpnKQfwRZWBUN2YQcA9kTC4WVjBo5RJwmLtx4kFPZOOiDaFLRRS4xFZOHqh9BrgY7mjg3N5HlaLib4U7+f4BBkINBmEGWmVGJgUmIgVmI4f8tBh5mRgYmQWZBBnuG16r7vVN4Dvb52cWkL/yqfGnnzq0RS15sqvP+z3A03Fj1go2M/HqTKyX1D+NPhLd2h892v1LNcTU8037i+9SZtVlXpnrsUC1bc3vfvInpzTauNea7ubYq7HYr8n7n0xekfs74xzXzm7N2/8g9XMJQy5rbrfgyzo730+yQ/o23nV8WTihZ+uZp9mpbs+tXlZ8u7JyaXnny5PfJuX/ffFz+OlrsrmuyfdTNra+0Xxbc50isE9q4ouLxFV12r9fsXk91rcMjtI8e65eqEDEX5T3//yYA93gZhQ==",
}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def paeth(a, b, c):
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    return a if pa <= pb and pa <= pc else b if pb <= pc else c


def filtered(rows, step):
    out, above = bytearray(), None
    for row in rows:
        above = above or bytes(len(row))
        kind = random.randrange(5)
        out.append(kind)
        for i, value in enumerate(row):
            a = row[i - step] if i >= step else 0
            c = above[i - step] if i >= step else 0
            out.append((value - [0, a, above[i], (a + above[i]) // 2, paeth(a, above[i], c)][kind]) & 255)
        above = row
    return bytes(out)


def packed(row, depth):
    row = row.flatten()
    if depth >= 8:
        return row.astype(">u2" if depth == 16 else "u1").tobytes()
    bits = "".join(format(int(value), f"0{depth}b") for value in row)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def deflated(samples, depth, interlaced):
    step, raw = max(1, samples.shape[2] * depth // 8), b""
    for x, y, across, down in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = samples[y::down, x::across]
        if part.size:
            raw += filtered([packed(row, depth) for row in part], step)
    return zlib.compress(raw, random.choice([0, 1, 9]))


def exif(value):
    """EXIF data with an orientation, in either byte order, perhaps behind another tag."""
    e = random.choice("<>")
    tags = [(0x010F, 2, 4, b"abc\0")] if random.random() < 0.5 else []
    tags.append((0x0112, 3, 1, struct.pack(e + "HH", value, 0)))
    return (b"II*\0" if e == "<" else b"MM\0*") + struct.pack(e + "IH", 8, len(tags)) + b"".join(struct.pack(e + "HHI", *tag[:3]) + tag[3] for tag in tags) + bytes(4)


def png(width, height):
    colour = random.choice(list(CHANNELS))
    # Grey of 16 bits is left out: Pillow cuts it off at 255 where other readers, as of every other 16-bit PNG, take the upper eight bits.
    depth = random.choice([d for d in DEPTHS[colour] if (colour, d) != (0, 16)])
    interlaced = random.randrange(2)
    colours = random.randint(1, 1 << depth) if colour == 3 else 1 << depth
    samples = np.random.randint(0, colours, (height, width, CHANNELS[colour]))
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    if random.random() < 0.3:
        out += chunk(b"gAMA", struct.pack(">I", random.choice([45455, 100000])))
    if random.random() < 0.3:
        out += chunk(b"eXIf", exif(random.randint(1, 8)))
    if colour == 3:
        out += chunk(b"PLTE", np.random.bytes(3 * colours))
        if random.random() < 0.5:
            out += chunk(b"tRNS", np.random.bytes(random.randint(1, colours)))
    elif colour in (0, 2) and random.random() < 0.5:
        out += chunk(b"tRNS", struct.pack(">" + "H" * CHANNELS[colour], *(random.randrange(1 << depth) for _ in range(CHANNELS[colour]))))
    data = deflated(samples, depth, interlaced)
    while data:
        length = random.randint(1, len(data))
        out += chunk(b"IDAT", data[:length])
        data = data[length:]
    return out + chunk(b"IEND", b"")


def region(width, height):
    x, y = random.randrange(width), random.randrange(height)
    return x, y, random.randint(1, width - x), random.randint(1, height - y)


def apng(width, height):
    """Not interlaced, opaque or wholly transparent, never back to what was there before, nothing over a still picture that is no frame, no
    palette's frame cleared: Pillow is wrong with the others, where ffmpeg is right."""
    colour = random.choice([0, 2, 3, 4, 6])
    depth = random.choice([1, 2, 4, 8]) if colour in (0, 3) else 8
    count, hidden = random.randint(2, 5), random.random() < 0.3

    def samples(w, h):
        out = np.random.randint(0, 1 << depth, (h, w, CHANNELS[colour]))
        if colour in (4, 6):
            out[..., -1] = np.random.choice([0, 255], (h, w))
        return out

    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + chunk(b"acTL", struct.pack(">II", count, 0))
    if colour == 3:
        out += chunk(b"PLTE", np.random.bytes(3 << depth)) + chunk(b"tRNS", bytes(random.choice([0, 255]) for _ in range(1 << depth)))
    if hidden:
        out += chunk(b"IDAT", deflated(samples(width, height), depth, 0))
    sequence, seconds = 0, []
    for frame in range(count):
        x, y, w, h = region(width, height) if frame else (0, 0, width, height)
        time, of = random.choice([0, 1, 5, 10]), random.choice([0, 100, 24])
        seconds.append(time / (of or 100) if time / (of or 100) > 0.0101 else 0.1)
        out += chunk(b"fcTL", struct.pack(">IIIIIHHBB", sequence, w, h, x, y, time, of, random.choice([0, 1]) if frame and colour != 3 else 0, random.randrange(2) if frame or not hidden else 0))
        sequence += 1
        data = deflated(samples(w, h), depth, 0)
        if frame == 0 and not hidden:
            out += chunk(b"IDAT", data)
        else:
            out += chunk(b"fdAT", struct.pack(">I", sequence) + data)
            sequence += 1
    return out + chunk(b"IEND", b""), seconds, int(hidden)


def lzw(indices, bits):
    clear, out, held, count = 1 << bits, bytearray(), 0, 0
    width, following, table, current = bits + 1, (1 << bits) + 2, {(i,): i for i in range(1 << bits)}, ()

    def put(code):
        nonlocal held, count
        held |= code << count
        count += width
        while count >= 8:
            out.append(held & 255)
            held >>= 8
            count -= 8

    put(clear)
    for index in indices:
        if (*current, index) in table:
            current = (*current, index)
            continue
        put(table[current])
        if following < 4096:
            table[(*current, index)] = following
            following += 1
            if following - 1 == 1 << width and width < 12:
                width += 1
        elif random.random() < 0.5:  # else the table stays full
            put(clear)
            width, following, table = bits + 1, clear + 2, {(i,): i for i in range(clear)}
        current = (index,)
    put(table[current])
    put(clear + 1)
    if count:
        out.append(held & 255)
    return b"".join(bytes([len(out[i : i + 255])]) + out[i : i + 255] for i in range(0, len(out), 255)) + b"\0"


def gif(width, height):
    """With a disposal for every frame, but for the first never back to what was before it: Pillow keeps the last one where a frame says 0."""
    bits = random.randint(1, 8)
    colours = lambda b: np.random.bytes(3 << b)
    out = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80 | (bits - 1), random.randrange(2), 0) + colours(bits)
    clear, seconds = random.random() < 0.6, []
    for frame in range(random.randint(1, 5)):
        x, y, w, h = region(width, height) if frame or random.random() < 0.2 else (0, 0, width, height)
        own, flags, palette = bits, 0, b""
        if random.random() < 0.4:
            own = random.randint(1, 8)
            flags, palette = 0x80 | (own - 1), colours(own)
        interlaced, transparent = random.random() < 0.4, clear and random.random() < 0.9
        hundredths = random.choice([0, 1, 2, 5, 10, 50])
        seconds.append(hundredths / 100 if hundredths > 1 else 0.1)
        out += b"\x21\xf9\x04" + struct.pack("<BHBB", random.choice([1, 2, 3] if frame else [1, 2]) << 2 | transparent, hundredths, random.randrange(1 << own) if transparent else 0, 0)
        out += b"\x2c" + struct.pack("<HHHHB", x, y, w, h, flags | interlaced << 6) + palette
        indices = np.random.randint(0, 1 << own, (h, w)) if random.random() < 0.6 else np.full((h, w), random.randrange(1 << own))
        if interlaced:
            indices = indices[[row for first, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for row in range(first, h, step)]]
        out += bytes([max(2, own)]) + lzw(indices.flatten().tolist(), max(2, own))
    return out + b";", seconds


def photo(width, height, channels=3):
    y, x = np.mgrid[0:height, 0:width]
    kind = random.randrange(3)
    if kind == 0:
        out = np.random.randint(0, 256, (height, width, 3))
    else:
        out = np.stack([128 + 100 * np.sin(x / 7 + c) * np.cos(y / (5 + c)) for c in range(3)], -1) + np.random.normal(0, 6 * kind, (height, width, 3))
        out[height // 3 : height // 2, width // 3 : width // 2] = [255, 0, 0]
    if channels == 4:
        out = np.dstack([out, np.random.choice([0, 255], (height, width)) if random.random() < 0.5 else np.clip(x * 8 + y * 3, 0, 255)])
    return Image.fromarray(np.clip(out, 0, 255).astype(np.uint8))


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpeg(width, height):
    image, options = photo(width, height), {"quality": random.choice([10, 50, 75, 90, 100]), "progressive": random.random() < 0.5}
    kind = random.random()
    if kind < 0.15:
        image = image.convert("L")
    elif kind < 0.3:
        options["keep_rgb"] = True
    else:
        options["subsampling"] = random.choice([0, 1, 2])
    if random.random() < 0.3:
        options["restart_marker_blocks"] = random.randint(1, 9)
    if random.random() < 0.5:
        options["exif"] = b"Exif\0\0" + exif(random.randint(1, 8))
    if random.random() < 0.2:
        options["comment"] = b"\xff\xd9 is no end here"
    return saved(image, "JPEG", **options)


def webp(width, height):
    options = {"lossless": random.random() < 0.4, "quality": random.choice([10, 60, 100]), "exact": random.random() < 0.5, "method": random.randint(0, 6)}
    if random.random() < 0.3:
        options["exif"] = exif(random.randint(1, 8))
    return saved(photo(width, height, random.choice([3, 4])), "WEBP", **options)


def moving_webp(width, height):
    channels = random.choice([3, 4])
    frames = [photo(width, height, channels)]
    for _ in range(random.randint(1, 4)):
        frame = frames[-1].copy()
        x, y, w, h = region(width, height)
        frame.paste(photo(w, h, channels), (x, y))
        frames.append(frame)
    duration = [random.choice([5, 40, 100]) for _ in frames]
    data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=duration, lossless=random.random() < 0.4, quality=80, allow_mixed=random.random() < 0.3)
    # Equal frames are joined by the encoder.
    return (data, None) if len(frames) != Image.open(io.BytesIO(data)).n_frames else (data, [d / 1000 if d > 10 else 0.1 for d in duration])


def entry(name, drawn):
    data, seconds, first = drawn if isinstance(drawn, tuple) and len(drawn) == 3 else (*drawn, 0) if isinstance(drawn, tuple) else (drawn, None, 0)
    image, frames = Image.open(io.BytesIO(data)), []
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        image.load()
        shown = ImageOps.exif_transpose(image).convert("RGB")
        if index >= first or getattr(image, "n_frames", 1) == 1:
            frames.append(base64.b64encode(zlib.compress(shown.tobytes(), 9)).decode())
    return {"name": name, "file": base64.b64encode(data).decode(), "width": shown.width, "height": shown.height, "frames": frames, "seconds": seconds}


def described():
    """Orientations that are said elsewhere than in EXIF: in XMP, as an attribute or an element, and in the raw profiles of ImageMagick; EXIF with the tag goes before them."""
    random.seed(0)
    image = Image.fromarray(np.arange(5 * 3 * 3, dtype=np.uint8).reshape(3, 5, 3) * 5)
    attribute, element = b'<rdf:Description tiff:Orientation="6"/>', b"<tiff:Orientation>8</tiff:Orientation>"
    upright, silent = Image.Exif(), Image.Exif()
    upright[0x112], silent[0x10F] = 1, "maker"
    raw = exif(5)
    profile = b"\nexif\n%8d\n" % len(raw) + b"".join(raw.hex().encode()[at : at + 72] + b"\n" for at in range(0, 2 * len(raw), 72))
    whole = saved(image, "PNG")
    out = {
        "jpeg": saved(image, "JPEG", xmp=attribute),
        "jpeg-and-exif": saved(image, "JPEG", xmp=attribute, exif=upright.tobytes()),
        "jpeg-and-silent-exif": saved(image, "JPEG", xmp=element, exif=silent.tobytes()),
        "webp": saved(image, "WEBP", lossless=True, xmp=element),
    }
    keyword = b"XML:com.adobe.xmp"
    for name, kind, data in (
        ("png", b"iTXt", keyword + b"\0\0\0\0\0" + attribute),
        ("png-deflated", b"iTXt", keyword + b"\0\1\0en\0xmp\0" + zlib.compress(element)),
        ("png-profile", b"tEXt", b"Raw profile type exif\0" + profile),
        ("png-profile-deflated", b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
    ):
        out[name] = whole[:33] + chunk(kind, data) + whole[33:]
        out[f"{name}-behind"] = whole[:-12] + chunk(kind, data) + whole[-12:]
    return [entry(f"described-{name}", data) for name, data in out.items()]


KINDS = {"png": png, "apng": apng, "gif": gif, "jpeg": jpeg, "webp": webp, "moving-webp": moving_webp}


def draw(seed, most, kind=None):
    random.seed(seed)
    np.random.seed(seed % 2**32)
    kind = kind or random.choice(list(KINDS))
    return entry(f"{kind}-{seed}", KINDS[kind](random.randint(1, most), random.randint(1, most)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", nargs="?")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write:
        out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pictures.json")
        pictures = [draw(seed, 13, kind) for kind, seeds in {"png": 14, "apng": 4, "gif": 6, "jpeg": 8, "webp": 5, "moving-webp": 3}.items() for seed in range(1, seeds + 1)]
        pictures += [entry(f"jpeg-{name}", zlib.decompress(base64.b64decode(data))) for name, data in SAMPLED.items()]
        pictures += described()
    else:
        out = options.out or sys.exit("give a file to write")
        pictures = [draw(options.seed * 1_000_003 + index, 40) for index in range(options.count)]
    with open(out, "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(picture, separators=(",", ":")) for picture in pictures) + "\n]\n")


if __name__ == "__main__":
    main()
