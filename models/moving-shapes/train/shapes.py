"""The world of moving shapes: captions, combinations and an anti-aliased renderer.

A clip shows one plain-coloured shape on a plain background. Its caption names four attributes
(colour, shape, motion, background); everything else (place, size, speed) is drawn at random.
All geometry is in pixels of a 64x64 picture, y pointing down.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

SIZE = 64
FRAMES = 17

COLOURS = {
    "red": (230, 40, 40),
    "green": (30, 180, 60),
    "blue": (40, 70, 230),
    "yellow": (245, 220, 40),
    "magenta": (225, 60, 215),
    "cyan": (50, 210, 225),
}
BACKGROUNDS = {"black": (0, 0, 0), "white": (255, 255, 255), "gray": (128, 128, 128)}
SHAPES = ("circle", "square", "triangle")
MOTIONS = ("moving left", "moving right", "moving up", "moving down", "growing", "shrinking")
DIRECTIONS = {
    "moving left": (-1, 0),
    "moving right": (1, 0),
    "moving up": (0, -1),
    "moving down": (0, 1),
}

HELD_OUT = 48
HELD_OUT_SEED = 2024
ATTRIBUTES = ("colour", "shape", "motion", "background")
VALUES = {
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "motion": MOTIONS,
    "background": tuple(BACKGROUNDS),
}

# The first form is the one used for evaluation; the others are paraphrases seen in training.
CAPTION_FORMS = (
    "a {colour} {shape} {motion} on a {background} background",
    "a {colour} {shape} is {motion} on a {background} background",
    "on a {background} background, a {colour} {shape} is {motion}",
    "a {background} background with a {colour} {shape} {motion}",
    "{colour} {shape} {motion}, {background} background",
    "A {colour} {shape}, {motion}, on a {background} background.",
)


@dataclass(frozen=True)
class Combination:
    """One value of each attribute."""

    colour: str
    shape: str
    motion: str
    background: str

    def caption(self, form: int = 0) -> str:
        return CAPTION_FORMS[form].format(**asdict(self))

    def labels(self) -> tuple[int, ...]:
        """Index of each attribute's value, in the order of ATTRIBUTES."""
        return tuple(VALUES[name].index(getattr(self, name)) for name in ATTRIBUTES)


# Words that say nothing of their own, beside those of the captions.
PLAIN = ("an", "the", "and")


def vocabulary() -> dict:
    """What the model knows, for generation.json: of a prompt with other words its user is warned."""
    names = [*COLOURS, *SHAPES, *MOTIONS, *BACKGROUNDS]
    forms = " ".join(re.sub(r"\{\w+\}", "", form) for form in CAPTION_FORMS).lower()
    return {
        "about": "one circle, square or triangle in red, green, blue, yellow, magenta or cyan that moves left, right, up or down, "
        "grows or shrinks, on a black, white or gray background",
        "words": sorted({*PLAIN, *re.findall(r"[a-z]+", f"{forms} {' '.join(names)}")}),
    }


# The README's prompt is always trained on.
SHOWCASE = Combination("red", "circle", "moving left", "black")


def all_combinations() -> list[Combination]:
    return [Combination(*values) for values in itertools.product(*VALUES.values())]


def held_out_combinations() -> list[Combination]:
    """A fixed list of combinations that training never sees, balanced over every attribute."""
    rng = random.Random(HELD_OUT_SEED)
    pool = [c for c in all_combinations() if c != SHOWCASE]
    rng.shuffle(pool)
    counts = {name: dict.fromkeys(VALUES[name], 0) for name in ATTRIBUTES}
    chosen: list[Combination] = []
    while len(chosen) < HELD_OUT:
        best = min(pool, key=lambda c: sum(counts[n][getattr(c, n)] * len(VALUES[n]) for n in ATTRIBUTES))
        pool.remove(best)
        chosen.append(best)
        for name in ATTRIBUTES:
            counts[name][getattr(best, name)] += 1
    return chosen


def training_combinations() -> list[Combination]:
    held_out = set(held_out_combinations())
    return [c for c in all_combinations() if c not in held_out]


def _signed_distance(shape: str, dx: torch.Tensor, dy: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Distance to the outline in pixels, negative inside. Sizes are chosen to have similar areas."""
    if shape == "circle":
        return (dx**2 + dy**2).sqrt() - radius
    if shape == "square":
        return torch.maximum(dx.abs(), dy.abs()) - 0.89 * radius
    # Equilateral, pointing up, the centroid at (0, 0); the inradius is half the circumradius.
    inradius = 0.68 * radius
    slanted = 0.8660254 * dx.abs() - 0.5 * dy
    return torch.maximum(dy, slanted) - inradius


def _trajectory(combination: Combination, frames: int, rng: random.Random):
    """Centre x, centre y and radius for each frame."""
    time = torch.linspace(0, 1, frames)
    half = SIZE / 2
    if combination.motion in DIRECTIONS:
        radius = rng.uniform(0.34, 0.44) * half
        room = half - 0.9 * radius  # how far the centre may be from the middle
        travel = rng.uniform(24, 2 * room)
        start = -rng.uniform(travel - room, room)
        along = start + travel * time
        across = rng.uniform(-8, 8)
        dx, dy = DIRECTIONS[combination.motion]
        x = half + (dx * along if dx else torch.full((frames,), across))
        y = half + (dy * along if dy else torch.full((frames,), across))
        return x, y, torch.full((frames,), radius)
    small, large = rng.uniform(0.2, 0.28) * half, rng.uniform(0.58, 0.7) * half
    if combination.motion == "shrinking":
        small, large = large, small
    x, y = (torch.full((frames,), half + rng.uniform(-7, 7)) for _ in range(2))
    return x, y, small + (large - small) * time


def render(combination: Combination, rng: random.Random, frames: int = FRAMES) -> torch.Tensor:
    """A clip [3, frames, 64, 64] in [-1, 1]. frames=1 gives the picture of a random moment."""
    x, y, radius = _trajectory(combination, FRAMES, rng)
    if frames < FRAMES:
        first = rng.randrange(FRAMES - frames + 1)
        x, y, radius = (v[first : first + frames] for v in (x, y, radius))
    grid = torch.arange(SIZE) + 0.5
    dx = grid[None, None, :] - x[:, None, None]
    dy = grid[None, :, None] - y[:, None, None]
    dx, dy = torch.broadcast_tensors(dx, dy)
    distance = _signed_distance(combination.shape, dx, dy, radius[:, None, None])
    cover = (0.5 - distance / 2).clamp(0, 1)[None]
    colour, background = (
        torch.tensor(rgb, dtype=torch.float32)[:, None, None, None] / 127.5 - 1
        for rgb in (COLOURS[combination.colour], BACKGROUNDS[combination.background])
    )
    return background + (colour - background) * cover


def write_lists(folder: Path) -> None:
    """evaluation-prompts.json (the held-out prompts) and attributes.json (what the measure needs)."""
    prompts = [
        {"prompt": c.caption(), **asdict(c), "seed": 1000 + i} for i, c in enumerate(held_out_combinations())
    ]
    (folder / "evaluation-prompts.json").write_text(
        "[\n" + ",\n".join("  " + json.dumps(p) for p in prompts) + "\n]\n"
    )
    attributes = {
        "colours": COLOURS,
        "backgrounds": BACKGROUNDS,
        "shapes": SHAPES,
        "motions": {
            **{name: {"kind": "translate", "direction": d} for name, d in DIRECTIONS.items()},
            "growing": {"kind": "scale", "sign": 1},
            "shrinking": {"kind": "scale", "sign": -1},
        },
        "captionForms": CAPTION_FORMS,
    }
    (folder / "attributes.json").write_text(json.dumps(attributes, indent=2) + "\n")
