"""AutoencoderKLCogVideoX. An encode case carries the encoder's weights only, a decode case the decoder's."""

import copy

import torch
from diffusers import AutoencoderKLCogVideoX

from case import Case, Content
from draws import Draws
from families.scheduler import public_config
from gradients import functional
from hooks import tracing

ENCODE = "AutoencoderKLCogVideoX.encode"
DECODE = "AutoencoderKLCogVideoX.decode"


def tiny(channels: list[int], groups: int, layers: int = 1, latent: int = 4) -> dict:
    return {
        "block_out_channels": channels,
        "norm_num_groups": groups,
        "layers_per_block": layers,
        "latent_channels": latent,
        "scaling_factor": 0.7,
    }


def half_of(module: torch.nn.Module, part: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in module.state_dict().items() if name.startswith(f"{part}.")}


class Encoding(AutoencoderKLCogVideoX):
    def forward(self, x):
        return self.encode(x).latent_dist


class Decoding(AutoencoderKLCogVideoX):
    def forward(self, z):
        return self.decode(z).sample


def called(vae: AutoencoderKLCogVideoX, kind: type, outputs):
    """One half as a function, to be differentiated."""
    half = copy.deepcopy(vae)
    half.__class__ = kind
    return functional(half, outputs)


def options_of(tiling: dict | None) -> dict:
    return {"tiling": tiling} if tiling else {}


def encode(config: dict, frames: int, height: int, width: int, batch: int = 1, tiling: dict | None = None, bias=None):
    """`bias` replaces the last bias of the encoder: its second half is the log-variance, which is clamped."""

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        vae = draws.fill(AutoencoderKLCogVideoX(**config))
        if bias:
            vae.encoder.conv_out.conv.bias.copy_(torch.tensor(bias))
        if tiling:
            vae.enable_tiling(**tiling)
        x = draws.pixels(batch, 3, frames, height, width)
        with tracing(case, vae) as trace:
            posterior = vae.encode(x).latent_dist
        return Content(
            config=public_config(vae),
            options=options_of(tiling),
            inputs={"x": x},
            weights=half_of(vae, "encoder"),
            outputs={"mean": posterior.mean, "logvar": posterior.logvar},
            call=called(vae, Encoding, lambda made: {"mean": made.mean, "logvar": made.logvar}),
            trace=trace,
        )

    return build


def decode(config: dict, frames: int, height: int, width: int, batch: int = 1, tiling: dict | None = None):
    """Sizes are the latents'."""

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        vae = draws.fill(AutoencoderKLCogVideoX(**config))
        if tiling:
            vae.enable_tiling(**tiling)
        z = draws.normal(batch, vae.config.latent_channels, frames, height, width)
        with tracing(case, vae) as trace:
            sample = vae.decode(z).sample
        return Content(
            config=public_config(vae),
            options=options_of(tiling),
            inputs={"z": z},
            weights=half_of(vae, "decoder"),
            outputs={"sample": sample},
            call=called(vae, Decoding, lambda made: {"sample": made}),
            trace=trace,
        )

    return build


SMALL = tiny([4, 4, 4, 4], 2)
WIDER = tiny([4, 6, 6, 6], 2, latent=5)
DEEP = tiny([4, 4, 4, 4], 4, layers=2, latent=3)
QUARTER = tiny([4, 6, 6], 2, latent=3) | {
    "down_block_types": ["CogVideoXDownBlock3D"] * 3,
    "up_block_types": ["CogVideoXUpBlock3D"] * 3,
}
TRUE_SIZE = tiny([128, 256, 256, 512], 32, layers=3, latent=16)

# The arguments of enable_tiling. Encoding 24 x 56 pixels gives 2 x 3 tiles, the last ones cut off by the border.
ENCODE_TILES = {
    "tile_sample_min_height": 24,
    "tile_sample_min_width": 32,
    "tile_overlap_factor_height": 1 / 3,
    "tile_overlap_factor_width": 1 / 4,
}
# Decoding 3 x 4 latents gives 3 x 2 tiles, which blend over 8 pixels.
DECODE_TILES = {
    "tile_sample_min_height": 16,
    "tile_sample_min_width": 24,
    "tile_overlap_factor_height": 1 / 2,
    "tile_overlap_factor_width": 1 / 3,
}

CASES = [
    Case(ENCODE, "1f_48x80", encode(SMALL, 1, 48, 80)),
    Case(ENCODE, "1f_channels", encode(WIDER, 1, 16, 24, batch=2)),
    Case(ENCODE, "8f", encode(SMALL, 8, 8, 24)),
    Case(ENCODE, "9f_deep", encode(DEEP, 9, 16, 8)),
    Case(ENCODE, "17f", encode(SMALL, 17, 16, 8)),
    # One batch, 14 -> 7 -> 4 frames; the log-variance leaves the range it is clamped to at both ends.
    Case(ENCODE, "14f_clamp", encode(SMALL, 14, 8, 8, bias=[0.1, -0.2, 0.3, 0.0, 25.0, -40.0, 0.5, -1.0])),
    Case(ENCODE, "1f_tiled", encode(SMALL, 1, 24, 56, tiling=ENCODE_TILES)),
    Case(DECODE, "1f_channels", decode(WIDER, 1, 3, 1, batch=2)),
    Case(DECODE, "4f", decode(SMALL, 4, 1, 2)),
    Case(DECODE, "5f_deep", decode(DEEP, 5, 2, 1)),
    Case(DECODE, "1f_tiled", decode(SMALL, 1, 3, 4, tiling=DECODE_TILES)),
    # Frame batches with caches between them, three blocks to keep the files small: 9 + 8 frames, 3 + 2 + 2 latents.
    Case(ENCODE, "17f_traced", encode(QUARTER, 17, 8, 4), trace=True),
    Case(DECODE, "7f_traced", decode(QUARTER, 7, 1, 1), trace=True),
    Case(ENCODE, "true_width_9f", encode(TRUE_SIZE, 9, 48, 80), large=True),
    Case(DECODE, "true_width_3f", decode(TRUE_SIZE, 3, 6, 10), large=True),
]
