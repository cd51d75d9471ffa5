"""Nodes: a prompt, or a picture and a prompt, to the frames of a video."""
import io

import av
import numpy as np
import torch
from PIL import Image

from .api import make_video

try:  # in ComfyUI
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar
except ImportError:  # elsewhere, such as in a script

    def throw_exception_if_processing_interrupted():
        pass

    ProgressBar = None

OWN = 0  # leaves a setting to the model


def frames_of(mp4):
    """[frames, height, width, 3], 0 to 1, as ComfyUI has pictures."""
    with av.open(io.BytesIO(mp4)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    return torch.from_numpy(np.stack(frames).astype(np.float32) / 255.0)


def png_of(image):
    """The first picture of an IMAGE, as the bytes of a PNG."""
    pixels = (image[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., :3]).save(file, "PNG")
    return file.getvalue()


class _Cogwheel:
    CATEGORY = "video/Cogwheel"
    FUNCTION = "make"
    RETURN_TYPES = ("IMAGE", "FLOAT", "INT")
    RETURN_NAMES = ("images", "fps", "seed")

    @classmethod
    def _inputs(cls, **first):
        size = {"default": OWN, "min": 0, "max": 4096, "step": 16, "tooltip": "0: the model's own"}
        number = {"default": OWN, "min": 0, "max": 1000, "tooltip": "0: the model's own"}
        return {
            "required": {
                **first,
                "prompt": ("STRING", {"multiline": True, "default": "a red circle moving left on a black background"}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFF, "control_after_generate": True}),
            },
            "optional": {
                "negative_prompt": ("STRING", {"multiline": True, "default": ""}),
                "width": ("INT", size),
                "height": ("INT", size),
                "frames": ("INT", number),
                "fps": ("INT", number),
                "steps": ("INT", number),
                "guidance": ("FLOAT", {"default": OWN, "min": 0, "max": 30, "step": 0.5, "tooltip": "0: the model's own"}),
                "server": ("STRING", {"default": "http://127.0.0.1:8000"}),
            },
        }

    def _make(self, prompt, seed, picture=None, *, negative_prompt="", width=OWN, height=OWN, frames=OWN, fps=OWN, steps=OWN,
              guidance=OWN, server="http://127.0.0.1:8000"):
        asked = {
            "prompt": prompt,
            "seed": seed,
            "negative_prompt": negative_prompt,
            "width": width,
            "height": height,
            "num_frames": frames,
            "fps": fps,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
        }
        fields = {name: value for name, value in asked.items() if name == "seed" or value not in ("", OWN)}
        bar = ProgressBar(100) if ProgressBar else None
        mp4, job = make_video(
            server,
            fields,
            picture,
            on_progress=lambda now: bar and bar.update_absolute(now["progress"]),
            check_interrupted=throw_exception_if_processing_interrupted,
        )
        return (frames_of(mp4), float(job["fps"]), job["seed"])


class CogwheelTextToVideo(_Cogwheel):
    DESCRIPTION = "Makes a video from a prompt, on a Cogwheel server."

    @classmethod
    def INPUT_TYPES(cls):
        return cls._inputs()

    def make(self, prompt, seed, **settings):
        return self._make(prompt, seed, **settings)


class CogwheelImageToVideo(_Cogwheel):
    DESCRIPTION = "Makes a video that begins with a picture, on a Cogwheel server with a model for that."

    @classmethod
    def INPUT_TYPES(cls):
        return cls._inputs(image=("IMAGE",))

    def make(self, image, prompt, seed, **settings):
        return self._make(prompt, seed, png_of(image), **settings)


NODE_CLASS_MAPPINGS = {"CogwheelTextToVideo": CogwheelTextToVideo, "CogwheelImageToVideo": CogwheelImageToVideo}
NODE_DISPLAY_NAME_MAPPINGS = {"CogwheelTextToVideo": "Cogwheel: text to video", "CogwheelImageToVideo": "Cogwheel: image to video"}
