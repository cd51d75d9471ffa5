"""The building blocks: attention, rotary embedding, causal convolution, the two conditioned norms, the block."""

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d, CogVideoXSpatialNorm3D
from diffusers.models.embeddings import apply_rotary_emb, get_3d_rotary_pos_embed
from diffusers.models.normalization import CogVideoXLayerNormZero
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock

from case import Case, Content
from draws import Draws
from gradients import functional
from hooks import tracing

# ---------------------------------------------------------------- attention


def attention(batch: int, heads: int, length: int, width: int, logit_scale: float = 1.0, keys: int | None = None):
    """`logit_scale` widens the logits: rows where one key takes nearly all, and exp() of a raw logit overflows. `keys`: default `length`."""

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        shape, key_shape = (batch, heads, length, width), (batch, heads, keys or length, width)
        query, key, value = draws.normal(*shape, scale=logit_scale), draws.normal(*key_shape), draws.normal(*key_shape)
        inputs = {"query": query, "key": key, "value": value}

        def call(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {"sample": F.scaled_dot_product_attention(*(tensors[f"input.{name}"] for name in inputs))}

        return Content(inputs=inputs, outputs={"sample": F.scaled_dot_product_attention(query, key, value)}, call=call)

    return build


# ---------------------------------------------------------------- rotary embedding

LANDSCAPE = {"crops_coords": [[1, 0], [30, 45]], "grid_size": [5, 7], "temporal_size": 2}
PORTRAIT = {"crops_coords": [[0, 13], [30, 32]], "grid_size": [7, 3], "temporal_size": 1}
SLICE = {"crops_coords": None, "grid_size": [3, 5], "temporal_size": 2, "grid_type": "slice", "max_size": [9, 150]}


def rotary_tables(options: dict) -> tuple[torch.Tensor, torch.Tensor]:
    return get_3d_rotary_pos_embed(**options)


def rotary_length(options: dict) -> int:
    rows, columns = options["grid_size"]
    return options["temporal_size"] * rows * columns


def rotary(batch: int, heads: int, options: dict):
    def build(case: Case) -> Content:
        x = Draws(case.id).normal(batch, heads, rotary_length(options), options["embed_dim"])
        return Content(
            options=options,
            inputs={"x": x},
            outputs={"sample": apply_rotary_emb(x, rotary_tables(options))},
            call=lambda tensors: {"sample": apply_rotary_emb(tensors["input.x"], rotary_tables(options))},
        )

    return build


# ---------------------------------------------------------------- causal convolution


def causal_conv(config: dict, shape: tuple[int, ...], cache_frames: int = 0):
    """`cache_frames` is the kernel's time extent less one, or 0 for no cache."""

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        conv = draws.fill(CogVideoXCausalConv3d(**config))
        inputs = {"inputs": draws.normal(*shape)}
        if cache_frames:
            batch, channels, _, height, width = shape
            inputs["conv_cache"] = draws.normal(batch, channels, cache_frames, height, width)
        sample, _ = conv(**inputs)
        call = functional(conv, lambda given: {"sample": given[0]})
        return Content(config=config, inputs=inputs, weights=conv.state_dict(), outputs={"sample": sample}, call=call)

    return build


# ---------------------------------------------------------------- norms


def layer_norm_zero(config: dict, batch: int, video: int, text: int):
    def build(case: Case) -> Content:
        draws = Draws(case.id)
        norm = draws.fill(CogVideoXLayerNormZero(**config))
        width = config["embedding_dim"]
        inputs = {
            "hidden_states": draws.normal(batch, video, width, scale=2, mean=0.5),
            "encoder_hidden_states": draws.normal(batch, text, width, scale=3, mean=-1),
            "temb": draws.normal(batch, config["conditioning_dim"]),
        }
        names = ("hidden_states", "encoder_hidden_states", "gate", "enc_gate")
        return Content(
            config=config,
            inputs=inputs,
            weights=norm.state_dict(),
            outputs=dict(zip(names, norm(**inputs), strict=True)),
            call=functional(norm, lambda given: dict(zip(names, given, strict=True))),
        )

    return build


def spatial_norm(config: dict, f: tuple[int, int, int, int], zq: tuple[int, int, int, int]):
    """`f` and `zq` are [B, T, H, W]."""

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        norm = draws.fill(CogVideoXSpatialNorm3D(**config))
        inputs = {
            "f": draws.normal(f[0], config["f_channels"], *f[1:], scale=2, mean=0.5),
            "zq": draws.normal(zq[0], config["zq_channels"], *zq[1:]),
        }
        sample, _ = norm(**inputs)
        call = functional(norm, lambda given: {"sample": given[0]})
        return Content(config=config, inputs=inputs, weights=norm.state_dict(), outputs={"sample": sample}, call=call)

    return build


# ---------------------------------------------------------------- transformer block


def block(config: dict, batch: int, text: int, video: int = 0, rotary: dict | None = None):
    def build(case: Case) -> Content:
        draws = Draws(case.id)
        module = draws.fill(CogVideoXBlock(**config))
        length = rotary_length(rotary) if rotary else video
        inputs = {
            "hidden_states": draws.normal(batch, length, config["dim"]),
            "encoder_hidden_states": draws.normal(batch, text, config["dim"]),
            "temb": draws.normal(batch, config["time_embed_dim"]),
        }
        with torch.no_grad(), tracing(case, module) as trace:
            tables = rotary_tables(rotary) if rotary else None
            hidden_states, encoder_hidden_states = module(**inputs, image_rotary_emb=tables)
        names = ("hidden_states", "encoder_hidden_states")
        return Content(
            config=config,
            options={"rotary": rotary} if rotary else {},
            inputs=inputs,
            weights=module.state_dict(),
            outputs={"hidden_states": hidden_states, "encoder_hidden_states": encoder_hidden_states},
            trace=trace,
            call=functional(module, lambda given: dict(zip(names, given, strict=True)), image_rotary_emb=tables),
        )

    return build


def block_config(heads: int, width: int, time: int) -> dict:
    return {
        "dim": heads * width,
        "num_attention_heads": heads,
        "attention_head_dim": width,
        "time_embed_dim": time,
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "qk_norm": True,
        "norm_elementwise_affine": True,
        "norm_eps": 1e-5,
    }


def conv_config(in_channels: int, out_channels: int, kernel_size, **rest) -> dict:
    return {"in_channels": in_channels, "out_channels": out_channels, "kernel_size": kernel_size, **rest}


def norm_zero_config(conditioning_dim: int, embedding_dim: int) -> dict:
    return {
        "conditioning_dim": conditioning_dim,
        "embedding_dim": embedding_dim,
        "elementwise_affine": True,
        "eps": 1e-5,
        "bias": True,
    }


def spatial_config(f_channels: int, zq_channels: int, groups: int) -> dict:
    return {"f_channels": f_channels, "zq_channels": zq_channels, "groups": groups}


SDPA = "scaled_dot_product_attention"
ROPE = "apply_rotary_emb"
CONV = "CogVideoXCausalConv3d"
ZERO = "CogVideoXLayerNormZero"
SPATIAL = "CogVideoXSpatialNorm3D"
BLOCK = "CogVideoXBlock"

CASES = [
    Case(SDPA, "d32_s13", attention(2, 2, 13, 32)),
    Case(SDPA, "d40_s21", attention(1, 2, 21, 40)),
    Case(SDPA, "d64_s35", attention(1, 1, 35, 64)),
    Case(SDPA, "d64_s19_sharp", attention(1, 1, 19, 64, logit_scale=40)),
    Case(SDPA, "d128_s9", attention(1, 1, 9, 128)),
    Case(SDPA, "d64_s1", attention(2, 1, 1, 64)),
    Case(ROPE, "linspace_landscape_d64", rotary(1, 1, {"embed_dim": 64, **LANDSCAPE})),
    Case(ROPE, "linspace_portrait_d32", rotary(2, 1, {"embed_dim": 32, **PORTRAIT})),
    Case(ROPE, "slice_d64", rotary(1, 1, {"embed_dim": 64, **SLICE})),
    Case(CONV, "k3_3to5", causal_conv(conv_config(3, 5, 3), (2, 3, 5, 7, 6))),
    Case(CONV, "k3_1frame", causal_conv(conv_config(5, 7, 3), (1, 5, 1, 5, 9))),
    Case(CONV, "k3_cache", causal_conv(conv_config(8, 12, 3), (1, 8, 4, 5, 7), cache_frames=2)),
    Case(CONV, "k3_cache_1frame", causal_conv(conv_config(4, 3, 3), (2, 4, 1, 6, 5), cache_frames=2)),
    Case(CONV, "k1", causal_conv(conv_config(7, 10, 1), (1, 7, 3, 4, 5))),
    Case(CONV, "k3_stride2", causal_conv(conv_config(4, 6, 3, stride=2), (1, 4, 6, 5, 7))),
    Case(CONV, "k3_stride122", causal_conv(conv_config(4, 6, 3, stride=(1, 2, 2)), (1, 4, 3, 8, 7))),
    Case(ZERO, "c36", layer_norm_zero(norm_zero_config(12, 36), batch=2, video=11, text=5)),
    Case(ZERO, "c27_odd", layer_norm_zero(norm_zero_config(7, 27), batch=3, video=4, text=1)),
    Case(SPATIAL, "odd_9f", spatial_norm(spatial_config(12, 4, 3), (1, 9, 6, 4), (1, 3, 3, 2))),
    Case(SPATIAL, "even_4f", spatial_norm(spatial_config(8, 5, 4), (2, 4, 3, 10), (2, 2, 3, 5))),
    Case(SPATIAL, "1frame", spatial_norm(spatial_config(6, 3, 2), (1, 1, 12, 20), (1, 1, 3, 5))),
    Case(SPATIAL, "same_size_3f", spatial_norm(spatial_config(32, 4, 32), (1, 3, 3, 5), (1, 3, 3, 5))),
    Case(BLOCK, "d64_rotary", block(block_config(1, 64, 8), batch=1, text=7, rotary={"embed_dim": 64, **SLICE})),
    Case(BLOCK, "2x16_plain", block(block_config(2, 16, 5), batch=2, text=5, video=21)),
    Case(
        BLOCK,
        "1x16_rotary",
        block(block_config(1, 16, 10), batch=2, text=3, rotary={"embed_dim": 16, **PORTRAIT}),
    ),
    Case(BLOCK, "2x16_traced", block(block_config(2, 16, 5), batch=2, text=3, rotary={"embed_dim": 16, **PORTRAIT}), trace=True),
    Case(BLOCK, "2b_width", block(block_config(30, 64, 512), batch=2, text=226, video=345), large=True),
    Case(
        BLOCK,
        "5b_width",
        block(
            block_config(48, 64, 512),
            batch=1,
            text=226,
            rotary={"embed_dim": 64, "crops_coords": [[0, 0], [30, 45]], "grid_size": [10, 15], "temporal_size": 3},
        ),
        large=True,
    ),
]
