"""Records the random draws that diffusers makes.

diffusers draws all of its noise through `randn_tensor`, which every module imports by name. `recorded_draws` replaces
that name, in the modules that CogVideoX uses, with a function that makes the same draw and keeps it with the module
it was made in, so the order of the draws is visible and each can be stored in a case.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
from diffusers.models.autoencoders import vae
from diffusers.pipelines.cogvideo import (
    pipeline_cogvideox,
    pipeline_cogvideox_fun_control,
    pipeline_cogvideox_image2video,
    pipeline_cogvideox_video2video,
)
from diffusers.schedulers import scheduling_dpm_cogvideox

PLACES = {
    "posterior": vae,
    "scheduler": scheduling_dpm_cogvideox,
    "text_to_video": pipeline_cogvideox,
    "image_to_video": pipeline_cogvideox_image2video,
    "video_to_video": pipeline_cogvideox_video2video,
    "fun_control": pipeline_cogvideox_fun_control,
}


@dataclass
class Draw:
    place: str  # a key of PLACES
    value: torch.Tensor


@contextmanager
def recorded_draws() -> Iterator[list[Draw]]:
    made: list[Draw] = []

    def recorder(place: str, draw):
        def randn_tensor(*args, **kwargs):
            value = draw(*args, **kwargs)
            made.append(Draw(place, value.clone()))
            return value

        return randn_tensor

    with ExitStack() as stack:
        for place, module in PLACES.items():
            stack.enter_context(patch.object(module, "randn_tensor", recorder(place, module.randn_tensor)))
        yield made
