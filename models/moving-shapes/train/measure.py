"""The plain image measure: what a clip shows, told from colours, centroid and area alone."""

from __future__ import annotations

import math

import numpy as np

import shapes

FOREGROUND_DISTANCE = 80.0  # RGB distance from the clip's own background colour
LEAST_AREA = 30  # pixels; a smaller foreground counts as absent
LEAST_TRAVEL = 6.0  # pixels between the means of the first and the last third
LEAST_LOG_AREA = 0.35  # natural logarithm of the area's ratio, last third over first


def nearest(colour: np.ndarray, palette: dict) -> str:
    return min(palette, key=lambda name: float(np.linalg.norm(colour - np.array(palette[name]))))


def measure(clip: np.ndarray) -> dict:
    """clip [frames, height, width, 3], values 0..255. Gives the four attributes (None: not found)."""
    clip = clip.astype(np.float32)
    border = np.concatenate(
        [part.reshape(-1, 3) for part in (clip[:, :2], clip[:, -2:], clip[:, :, :2], clip[:, :, -2:])]
    )
    back = np.median(border, axis=0)
    mask = np.linalg.norm(clip - back, axis=-1) > FOREGROUND_DISTANCE
    area = mask.sum(axis=(1, 2))
    result = dict(background=nearest(back, shapes.BACKGROUNDS), colour=None, motion=None, shape=None)
    seen = np.flatnonzero(area >= LEAST_AREA)
    third = len(clip) // 3
    first, last = seen[seen < third + 1], seen[seen >= len(clip) - third - 1]
    if len(seen) == 0:
        return result
    result["colour"] = nearest(np.median(clip[mask], axis=0), shapes.COLOURS)

    fill, centres = [], {}
    for f in seen:
        y, x = np.nonzero(mask[f])
        centres[f] = np.array([x.mean(), y.mean()])
        fill.append(area[f] / ((np.ptp(x) + 1) * (np.ptp(y) + 1)))
    fill = float(np.median(fill))
    result["shape"] = "square" if fill > 0.89 else "circle" if fill > 0.65 else "triangle"

    if len(first) and len(last):
        dx, dy = np.mean([centres[f] for f in last], axis=0) - np.mean([centres[f] for f in first], axis=0)
        growth = math.log(area[last].mean() / area[first].mean())
        travel = max(abs(dx), abs(dy))
        if travel >= LEAST_TRAVEL and travel / 16 >= abs(growth):
            result["motion"] = (
                ("moving right" if dx > 0 else "moving left")
                if abs(dx) > abs(dy)
                else ("moving down" if dy > 0 else "moving up")
            )
        elif abs(growth) >= LEAST_LOG_AREA:
            result["motion"] = "growing" if growth > 0 else "shrinking"
    return result


def score(clips, wanted: list[dict]) -> dict[str, float]:
    """Percentage of clips with each attribute right."""
    found = [measure(clip) for clip in clips]
    return {
        name: 100 * sum(f[name] == w[name] for f, w in zip(found, wanted)) / len(wanted)
        for name in ("background", "colour", "motion", "shape")
    }
