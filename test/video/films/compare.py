"""Draws films with ffmpeg (cases.py), decodes them with ffmpeg and with the product, and compares: PSNR in dB, frame by frame.

    compare.py [--only TEXT] [--keep DIR] [--node NODE] [--verbose]
    compare.py --real [--node NODE ...] [--generate]
    compare.py --fixtures

ffmpeg is imageio-ffmpeg's. The product runs in a process of its own with nothing else alive in it (decode.mjs).
"""

import argparse
import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imageio_ffmpeg
import numpy
from PIL import Image

from cases import FIXTURES, all_cases

HERE = Path(__file__).resolve().parent
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
FLAGS = "accurate_rnd+full_chroma_int+bitexact"


def ffmpeg(*args):
    done = subprocess.run([FFMPEG, "-hide_banner", "-loglevel", "error", "-y", *args], capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"ffmpeg {' '.join(args)}: {done.stderr.decode(errors='replace')[-600:]}")
    return done.stdout


def draw(case, folder):
    path = str(folder / case.file)
    if case.copy:
        first = str(folder / f"first-{case.file}")
        ffmpeg(*case.draw, first)
        before = [arg for arg in case.copy]
        options = []
        while before and before[0] in ("-display_rotation", "-display_hflip", "-display_vflip", "-ss"):
            options.append(before.pop(0))
            if options[-1] in ("-display_rotation", "-ss"):
                options.append(before.pop(0))
        ffmpeg(*options, "-i", first, *before, path)
        os.remove(first)
    else:
        ffmpeg(*case.draw, path)
    if case.edit:
        case.edit(path)
    return path


def probe(path):
    """The first frame's width and height as shown, matrix, range, pixel aspect as ffmpeg has them."""
    log = subprocess.run([FFMPEG, "-hide_banner", "-loglevel", "info", "-i", path, "-frames:v", "1", "-vf", "showinfo", "-an", "-f", "null", "-"], capture_output=True).stderr.decode(errors="replace")
    lines = [line for line in log.splitlines() if "showinfo" in line]
    first = next(line for line in lines if " n:" in line)
    colors = next((line for line in lines if "color_range:" in line), "")
    value = lambda text, key: text.split(key)[1].split()[0] if key in text else "unknown"
    width, height = (int(part) for part in value(first, " s:").split("x"))
    sar = [int(part) for part in value(first, "sar:").split("/")]
    return width, height, value(colors, "color_space:"), value(colors, "color_range:"), sar if sar[0] > 0 and sar[1] > 0 else [1, 1], value(first, "fmt:")


def wanted(path, most=None):
    """ffmpeg's frames, [T, H, W, 3], in square pixels."""
    width, height, matrix, range_, (num, den), pix = probe(path)
    filters = []
    if not pix.startswith(("gbr", "rgb", "gray")):
        options = []
        if matrix in ("unknown", "unspecified", "reserved"):
            # Stored, not shown, sizes say which: a turned film is the same film.
            turned = "displaymatrix" in subprocess.run([FFMPEG, "-hide_banner", "-v", "verbose", "-i", path], capture_output=True).stderr.decode(errors="replace").lower()
            w, h = stored(path) if turned else (width, height)
            options.append(f"in_color_matrix={'bt709' if w >= 1280 or h > 576 else 'smpte170m'}")
        if range_ in ("unknown", "unspecified"):
            options.append("in_range=limited")
        if options:
            filters = ["-vf", "scale=" + ":".join(options) + ":flags=" + FLAGS]
    raw = ffmpeg("-i", path, "-map", "0:v:0", *filters, *(["-frames:v", str(most)] if most else []), "-fps_mode", "passthrough", "-sws_flags", FLAGS, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    frames = numpy.frombuffer(raw, numpy.uint8).reshape(-1, height, width, 3)
    if num == den:
        return frames
    size = (int(width * num / den + 0.5), height) if num > den else (width, int(height * den / num + 0.5))
    return numpy.stack([numpy.asarray(Image.fromarray(frame).resize(size, Image.LANCZOS)) for frame in frames])


def stored(path):
    log = subprocess.run([FFMPEG, "-hide_banner", "-noautorotate", "-i", path, "-frames:v", "1", "-vf", "showinfo", "-f", "null", "-"], capture_output=True).stderr.decode(errors="replace")
    line = next(line for line in log.splitlines() if "showinfo" in line and " s:" in line)
    return tuple(int(part) for part in line.split(" s:")[1].split()[0].split("x"))


def product(path, out, node, most=None):
    env = {**os.environ}
    done = subprocess.run([node, str(HERE / "decode.mjs"), path, out, *([str(most)] if most else [])], capture_output=True, timeout=300, env=env)
    text = done.stdout.decode()
    if done.returncode != 0 or not text.strip():
        return {"error": f"exit code {done.returncode}, stdout {text!r}, stderr {done.stderr.decode(errors='replace')[-300:]!r}", "kind": "exit"}
    result = json.loads(text.strip().splitlines()[-1])
    if done.stderr:
        result["stderr"] = done.stderr.decode(errors="replace")
    return result


def psnr(want, got):
    error = numpy.mean((want.astype(numpy.float64) - got) ** 2, axis=(1, 2, 3))
    return float(min(10 * numpy.log10(255**2 / numpy.maximum(error, 1e-10))))


def check(case, folder, node):
    """(verdict, dB or None, words)"""
    try:
        path = draw(case, folder)
    except RuntimeError as error:
        return "not drawn", None, str(error)[-300:]
    out = str(folder / f"{case.file}.rgb")
    result = product(path, out, node)
    if result.get("stderr"):
        return "WRONG", None, f"on stderr: {result['stderr'][:200]}"
    if case.refused:
        if "error" not in result:
            return "WRONG", None, "read, though it is to be refused"
        good = case.refused in result["error"] and result["kind"] == "CogwheelError"
        return ("refused" if good else "WRONG"), None, result["error"].replace(str(folder), "")
    if "error" in result:
        # A film cut off before its index has nothing to show in ffmpeg either.
        if case.kind == "cut-off":
            try:
                wanted(path)
            except (RuntimeError, StopIteration):
                return "refused", None, result["error"].replace(str(folder), "")
        return "WRONG", None, result["error"].replace(str(folder), "")
    if case.warned and not any(case.warned in text for text in result["warnings"]):
        return "WRONG", None, f"no warning of {case.warned}, got {result['warnings']}"
    want = wanted(path)
    got = numpy.fromfile(out, numpy.uint8).reshape(-1, result["height"], result["width"], 3)
    os.remove(out)
    shared = min(len(want), len(got))
    # ffmpeg shows a last picture of which a part is missing; it is not counted.
    short = len(want) - len(got) if case.kind == "cut-off" else 0
    if want.shape[1:] != got.shape[1:] or not (len(want) == len(got) or 0 < short <= 2):
        return "WRONG", None, f"got {got.shape}, want {want.shape}"
    worst = psnr(want[:shared], got[:shared]) if shared else 99.0
    words = "; ".join(result["warnings"]).replace(str(folder), "")
    return ("ok" if worst >= case.least else "WRONG"), worst, words


def means(frame, block=8):
    """Means of blocks of 8 × 8 pixels, whole ones only, as bytes in base64."""
    height, width = (size // block * block for size in frame.shape[:2])
    blocks = frame[:height, :width].astype(numpy.float64).reshape(height // block, block, width // block, block, 3).mean(axis=(1, 3))
    return base64.b64encode((blocks + 0.5).astype(numpy.uint8).tobytes()).decode()


def fixtures():
    """Films of one of each kind, and in films.json what ffmpeg makes of them: means of blocks of three frames, and the SHA-256 of all where the product's are equal."""
    folder = HERE.parent / "fixtures" / "films"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    films = []
    for case in all_cases():
        if case.name not in FIXTURES:
            continue
        path = draw(case, folder)
        film = {"name": case.name, "file": case.file}
        if case.refused:
            film["refused"] = case.refused
        else:
            frames = wanted(path)
            at = sorted({0, len(frames) // 2, len(frames) - 1})
            film |= {"width": frames.shape[2], "height": frames.shape[1], "frames": len(frames), "at": at, "means": [means(frames[index]) for index in at]}
            if not case.kind.startswith(("turned", "aspect", "cropped", "size")) and "gbrp1" not in case.name:
                film["equal"] = hashlib.sha256(frames.tobytes()).hexdigest()
            if case.warned:
                film["warned"] = case.warned
        films.append(film)
    missing = set(FIXTURES) - {film["name"] for film in films}
    if missing:
        raise SystemExit(f"no such cases: {missing}")
    lines = ",\n".join(json.dumps(film) for film in films)
    (folder / "films.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(films)} films, {sum(path.stat().st_size for path in folder.iterdir()) // 1024} KiB")


def drawn(args):
    cases = [case for case in all_cases() if not args.only or args.only in case.name]
    kept = Path(args.keep) if args.keep else None
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
    wrong = 0
    worst = {}
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(args.jobs) as pool:
        folder = kept or Path(temporary)
        for case, (verdict, value, words) in zip(cases, pool.map(lambda case: check(case, folder, args.node[0]), cases)):
            if verdict in ("WRONG", "not drawn"):
                wrong += verdict == "WRONG"
                print(f"{verdict:9} {case.name}: {'' if value is None else f'{value:.1f} dB '}{words}", flush=True)
            elif args.verbose or verdict == "refused":
                print(f"{verdict:9} {case.name}: {'' if value is None else f'{value:.1f} dB '}{words}", flush=True)
            entry = worst.setdefault(case.kind, {"films": 0, "refused": 0, "wrong": 0, "least": float("inf"), "name": ""})
            entry["films"] += 1
            entry["refused"] += verdict == "refused"
            entry["wrong"] += verdict == "WRONG"
            if value is not None and value < entry["least"]:
                entry["least"], entry["name"] = value, case.name
    print("\n| class | films | refused by name | wrong | worst, dB | of |\n| --- | ---: | ---: | ---: | ---: | --- |")
    for kind, entry in worst.items():
        least = "" if entry["least"] == float("inf") else "equal" if entry["least"] > 140 else f"{entry['least']:.1f}"
        print(f"| {kind} | {entry['films']} | {entry['refused']} | {entry['wrong']} | {least} | {entry['name'].split('/')[-1] if least not in ('', 'equal') else ''} |")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="only cases whose name has this text in it")
    parser.add_argument("--keep", help="folder for the drawn films")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--node", action="append", help="the Node that runs the product; may be given several times with --real")
    parser.add_argument("--real", action="store_true", help="films of packages in the place of drawn ones")
    parser.add_argument("--generate", action="store_true", help="with --real: also encode each with the VAE and use it in a generation")
    parser.add_argument("--fixtures", action="store_true", help="write the committed films again")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    args.node = args.node or [os.environ.get("COGWHEEL_NODE", "node")]
    if args.fixtures:
        return fixtures()
    if args.real:
        from real import real

        sys.exit(1 if real(args) else 0)
    sys.exit(1 if drawn(args) else 0)


if __name__ == "__main__":
    main()
