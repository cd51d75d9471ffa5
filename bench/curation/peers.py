"""What PySceneDetect and OpenCV say of films: reads one JSON request from standard input, writes one JSON answer."""
import json
import sys

import cv2
import numpy as np
from scenedetect import AdaptiveDetector, ContentDetector, HistogramDetector, detect

DETECTORS = {"adaptive": AdaptiveDetector, "content": ContentDetector, "histogram": HistogramDetector}


def cuts(path):
    return {name: [scene[0].frame_num for scene in detect(path, make())][1:] for name, make in DETECTORS.items()}


def motion(path, every, windows):
    """Mean length of Farneback's flow in widths a second, for pairs of frames at least `every` seconds apart, averaged over windows."""
    capture = cv2.VideoCapture(path)
    before, since, pairs = None, None, []
    while True:
        read, frame = capture.read()
        if not read:
            break
        at = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if since is not None and at - since < every:
            continue
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        if grey.shape[1] > 640:
            grey = cv2.resize(grey, (640, round(grey.shape[0] * 640 / grey.shape[1])), interpolation=cv2.INTER_AREA)
        if before is not None:
            flow = cv2.calcOpticalFlowFarneback(before, grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)
            pairs.append((since, at, float(np.linalg.norm(flow, axis=2).mean()) / grey.shape[1] / (at - since)))
        before, since = grey, at
    # A window's pairs lie within it.
    return [float(np.mean([v for a, b, v in pairs if a >= start - 1e-3 and b < end - 1e-3])) for start, end in windows]


request = json.load(sys.stdin)
answer = {}
if "cuts" in request:
    answer["cuts"] = {path: cuts(path) for path in request["cuts"]}
if "motion" in request:
    answer["motion"] = {path: motion(path, request["every"], windows) for path, windows in request["motion"].items()}
json.dump(answer, sys.stdout)
