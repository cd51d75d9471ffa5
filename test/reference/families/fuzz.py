"""Random cases: every module of the format, with configs, shapes and seeds drawn from all that diffusers accepts.

`draw(seed, index)` is one case; the same two numbers give the same case. What is drawn is wider than what the engine
runs: its predicates say which configs are legal (src/models/*/config.ts, src/diffusion/config.ts), and a case beyond
them must be refused by name. CASES are the few that are committed; `npm run fuzz` makes as many as are asked for.
"""

import zlib
from collections.abc import Callable
from random import Random

from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler

from case import Case
from families import ops, pipeline, random, scheduler, t5, tokenizer, training, transformer, vae
from families.training import Lora, Recipe
from families.transformer import Adapter
from gradients import differentiated

Builder = Callable[[Case], object]


def multiple(rng: Random, of: int, most: int) -> int:
    return of * rng.randint(1, most)


# ---------------------------------------------------------------- building blocks


def attention(rng: Random) -> Builder:
    width = multiple(rng, 4, 32) if rng.random() < 0.9 else rng.choice([6, 33, 130, 160])
    return ops.attention(rng.randint(1, 2), rng.randint(1, 3), rng.randint(1, 70), width, rng.choice([1, 1, 8, 40]))


def rotary_options(rng: Random) -> dict:
    rows, columns, frames = rng.randint(1, 8), rng.randint(1, 8), rng.randint(1, 4)
    options: dict = {"grid_size": [rows, columns], "temporal_size": frames}
    if rng.random() < 0.4:
        return options | {
            "crops_coords": None,
            "grid_type": "slice",
            "max_size": [rows + rng.randint(0, 9), columns + rng.randint(0, 9)],
        }
    top, left = rng.randint(0, 12), rng.randint(0, 12)
    options["crops_coords"] = [[top, left], [top + rng.randint(1, 40), left + rng.randint(1, 40)]]
    if rng.random() < 0.3:
        options["theta"] = rng.choice([100, 5000, 50000])
    return options


def rotary(rng: Random) -> Builder:
    return ops.rotary(rng.randint(1, 2), rng.randint(1, 3), {"embed_dim": multiple(rng, 16, 8)} | rotary_options(rng))


def causal_conv(rng: Random) -> Builder:
    kernel = rng.choice([1, 3, 3, 3, 5, (3, 1, 1), (1, 3, 3), (3, 5, 1), (2, 3, 3)])
    config = ops.conv_config(rng.randint(1, 18), rng.randint(1, 18), kernel)
    if rng.random() < 0.4:
        config["stride"] = rng.choice([2, 3, (1, 2, 2), (2, 1, 2), (2, 2, 2)])
    if rng.random() < 0.25:
        config["pad_mode"] = "replicate"
    time = kernel if isinstance(kernel, int) else kernel[0]
    if rng.random() < 0.2 and time > 1:
        config["dilation"] = 2
    least = time + 1 if config.get("dilation") else 1
    shape = (rng.randint(1, 2), config["in_channels"], rng.randint(least, 6), rng.randint(2, 11), rng.randint(2, 11))
    cache = time - 1 if config.get("pad_mode") is None and rng.random() < 0.4 else 0
    return ops.causal_conv(config, shape, cache)


def norm_zero(rng: Random) -> Builder:
    config = ops.norm_zero_config(rng.randint(1, 40), rng.randint(2, 90))
    config |= {"elementwise_affine": rng.random() < 0.8, "eps": rng.choice([1e-5, 1e-6, 1e-3]), "bias": rng.random() < 0.8}
    return ops.layer_norm_zero(config, rng.randint(1, 3), rng.randint(1, 30), rng.randint(1, 12))


def spatial_norm(rng: Random) -> Builder:
    groups = rng.randint(1, 6)
    config = ops.spatial_config(multiple(rng, groups, 5), rng.randint(1, 9), groups)
    batch, frames, rows, columns = rng.randint(1, 2), rng.randint(1, 3), rng.randint(1, 4), rng.randint(1, 4)
    times, scale = rng.choice([1, 2, 4]), rng.choice([1, 2, 4, 8])
    f_frames = frames if frames == 1 else (times * (frames - 1) + 1 if frames % 2 else times * frames)
    return ops.spatial_norm(config, (batch, f_frames, rows * scale, columns * scale), (batch, frames, rows, columns))


def block(rng: Random) -> Builder:
    with_rotary = rng.random() < 0.6
    width = multiple(rng, 16, 5) if with_rotary else multiple(rng, 4, 18)
    heads = rng.randint(1, max(1, 96 // width))
    config = ops.block_config(heads, width, rng.randint(1, 24)) | {
        "attention_bias": rng.random() < 0.7,
        "norm_elementwise_affine": rng.random() < 0.8,
        "norm_eps": rng.choice([1e-5, 1e-6, 1e-3]),
    }
    if with_rotary:
        options = {"embed_dim": width} | rotary_options(rng)
        return ops.block(config, batch=rng.randint(1, 2), text=rng.randint(1, 12), rotary=options)
    return ops.block(config, batch=rng.randint(1, 3), text=rng.randint(1, 12), video=rng.randint(1, 60))


# ---------------------------------------------------------------- the transformer


def transformer_config(rng: Random) -> tuple[dict, tuple[int, int, int, int], int]:
    """A config, the latents' [F, C, H, W], and the number of text tokens."""
    positions = rng.choice(["sincos", "rotary", "rotary", "learned"])
    patch = rng.choice([1, 2, 2, 2, 3, 4])
    patch_t = rng.choice([None, None, None, 1, 2, 2, 3]) if positions != "sincos" else rng.choice([None] * 9 + [1, 2])
    width = multiple(rng, 16, 6) if positions != "sincos" else multiple(rng, 4, 24)
    heads = rng.randint(1, max(1, 100 // width))
    if positions == "sincos" and rng.random() < 0.9:  # the table wants a width that 16 divides
        heads, width = rng.choice([(1, 16), (1, 48), (2, 8), (2, 24), (2, 40), (4, 4), (4, 12), (4, 20), (3, 16), (1, 96), (8, 6)])
    rows, columns, frames = rng.randint(1, 6), rng.randint(1, 6), rng.randint(1, 4)
    height, across = rows * patch, columns * patch
    latents = frames * (patch_t or 1)
    ratio = rng.choice([1, 2, 4, 4, 8])
    text = rng.randint(1, 9)
    time = multiple(rng, 4, 8) if rng.random() < 0.9 else rng.randint(1, 30)
    config = {
        "num_attention_heads": heads,
        "attention_head_dim": width,
        "num_layers": rng.choice([1, 1, 2, 3]),
        "in_channels": rng.randint(1, 9),
        "out_channels": rng.choice([1, 2, 4, 4, 4, 5, 8]),
        "flip_sin_to_cos": rng.random() < 0.7,
        "freq_shift": rng.choice([0, 0, 0, 1]),
        "time_embed_dim": time,
        "ofs_embed_dim": time if rng.random() < 0.3 else None,
        "text_embed_dim": rng.randint(1, 40),
        "attention_bias": rng.random() < 0.7,
        "sample_height": height if positions == "learned" or rng.random() < 0.3 else rng.randint(patch, 90),
        "sample_width": across if positions == "learned" or rng.random() < 0.3 else rng.randint(patch, 90),
        "sample_frames": (latents - 1) * ratio + 1 if rng.random() < 0.5 else rng.randint(1, 20),
        "patch_size": patch,
        "patch_size_t": patch_t,
        "temporal_compression_ratio": ratio,
        "max_text_seq_length": text,
        "norm_elementwise_affine": rng.random() < 0.8,
        "norm_eps": rng.choice([1e-5, 1e-6, 1e-3]),
        "spatial_interpolation_scale": rng.choice([1.875, 1.0, 2.5]),
        "temporal_interpolation_scale": rng.choice([1.0, 1.5]),
        "use_rotary_positional_embeddings": positions != "sincos",
        "use_learned_positional_embeddings": positions == "learned",
        "patch_bias": rng.random() < 0.7,
    }
    if positions == "rotary":
        text = rng.randint(1, 12)
    return config, (latents, config["in_channels"], height, across), text


LINEARS = [
    *(f"transformer_blocks.0.{name}" for name in ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0")),
    *(f"transformer_blocks.0.{name}" for name in ("ff.net.0.proj", "ff.net.2", "norm1.linear", "norm2.linear")),
    "patch_embed.text_proj",
    "time_embedding.linear_1",
    "time_embedding.linear_2",
    "norm_out.linear",
    "proj_out",
]


def adapters(rng: Random) -> list[Adapter]:
    def one() -> Adapter:
        rank = rng.randint(1, 6)
        layers = tuple(sorted(rng.sample(LINEARS, rng.randint(1, len(LINEARS)))))
        return Adapter(rng.choice([1.0, 0.5, -0.75, 1.5]), rank, layers, rng.choice([None, None, 1.0, 2.0 * rank]))

    return [one() for _ in range(rng.randint(1, 3))]


def whole_transformer(rng: Random) -> Builder:
    config, shape, text = transformer_config(rng)
    steps = [rng.randint(0, 999) for _ in range(rng.randint(1, 3))]
    ofs = rng.choice([2.0, 0.0, 5.0]) if config["ofs_embed_dim"] else None
    lora = adapters(rng) if rng.random() < 0.3 else None
    return transformer.forward(config, shape, text, steps, ofs, lora)


# ---------------------------------------------------------------- the VAE


def vae_config(rng: Random, blocks: int | None = None) -> dict:
    blocks = blocks or rng.randint(1, 5)
    groups = rng.choice([1, 2, 2, 3, 4])
    channels = [multiple(rng, groups, 3 if groups > 2 else 4) for _ in range(blocks)]
    return vae.tiny(channels, groups, rng.choice([1, 1, 2, 3]), rng.randint(1, 6)) | {
        "down_block_types": ["CogVideoXDownBlock3D"] * blocks,
        "up_block_types": ["CogVideoXUpBlock3D"] * blocks,
        "temporal_compression_ratio": 2 ** rng.randint(0, blocks),
        "norm_eps": rng.choice([1e-6, 1e-5, 1e-3]),
        "sample_height": 8 * rng.randint(2, 12),
        "sample_width": 8 * rng.randint(2, 12),
    }


def tiles(rng: Random, ratio: int) -> dict | None:
    if rng.random() < 0.75:
        return None
    return {
        "tile_sample_min_height": ratio * rng.randint(2, 4),
        "tile_sample_min_width": ratio * rng.randint(2, 4),
        "tile_overlap_factor_height": rng.choice([1 / 6, 1 / 4, 1 / 3, 1 / 2]),
        "tile_overlap_factor_width": rng.choice([1 / 5, 1 / 4, 1 / 3, 1 / 2]),
    }


def encode(rng: Random) -> Builder:
    config = vae_config(rng)
    ratio = 2 ** (len(config["block_out_channels"]) - 1)
    # At least 2 x 2 latents: a norm over one or two values is a division by nearly nothing, in float32 wrong by itself.
    height, width = (ratio * rng.randint(2, max(2, 24 // ratio)) for _ in range(2))
    return vae.encode(config, rng.randint(1, 19), height, width, rng.randint(1, 2), tiles(rng, ratio))


def decode(rng: Random) -> Builder:
    config = vae_config(rng)
    ratio = 2 ** (len(config["block_out_channels"]) - 1)
    height, width = (rng.randint(2, max(2, 24 // ratio)) for _ in range(2))
    return vae.decode(config, rng.randint(1, 6), height, width, rng.randint(1, 2), tiles(rng, ratio))


# ---------------------------------------------------------------- text, numbers, schedulers


def t5_encoder(rng: Random) -> Builder:
    config = {
        "vocab_size": rng.randint(5, 90),
        "d_model": multiple(rng, 4, 12) if rng.random() < 0.9 else rng.randint(1, 40),
        "num_heads": rng.randint(1, 5),
        "d_kv": multiple(rng, 4, 24),
        "d_ff": multiple(rng, 4, 16),
        "num_layers": rng.randint(1, 3),
        "relative_attention_num_buckets": rng.choice([4, 8, 12, 16, 32, 32, 64]),
        "relative_attention_max_distance": rng.choice([20, 40, 128, 128, 200]),
        "layer_norm_epsilon": rng.choice([1e-6, 1e-5]),
    }
    length = rng.randint(1, 90)
    return t5.encode(config, rng.randint(1, 3), length, rng.choice([0, 0, length // 2]))


# A few of everything that a normaliser and a trie can trip over.
CHARACTERS = "abcdeé ﬁ½²ⅧＡ１　\t\n\u00a0\u200b\u0301\u0327ｶﾞ가각ᄀ漢字🐼👍🏽▁_<>/s~—“'…\u0007\ufffd"


def text_line(rng: Random) -> str:
    words = [rng.choice(tokenizer.TEXT)[: rng.randint(0, 30)] for _ in range(rng.randint(0, 3))]
    words += ["".join(rng.choice(CHARACTERS) for _ in range(rng.randint(0, 25))) for _ in range(rng.randint(0, 3))]
    rng.shuffle(words)
    return "".join(words)


def tokenize(rng: Random) -> Builder:
    settings: dict = {}
    if rng.random() < 0.7:
        settings = {"normalization_rule_name": rng.choice(["nmt_nfkc", "nfkc", "identity", "nmt_nfkc_cf", "nfkc_cf"])}
        settings |= {"add_dummy_prefix": rng.random() < 0.6, "remove_extra_whitespaces": rng.random() < 0.5}
        if rng.random() < 0.4:
            settings |= {"byte_fallback": True, "vocab_size": 420, "required_chars": ""}
    return tokenizer.tokenize([text_line(rng) for _ in range(rng.randint(1, 12))], rng.randint(1, 60), **settings)


def numbers(rng: Random) -> Builder:
    seed = rng.choice([rng.randint(0, 99), rng.randrange(2**32), rng.randrange(2**53)])
    rank = rng.randint(1, 5)
    shape = [rng.randint(1, 3 if rank > 2 else 40) for _ in range(rank)]
    return random.randn(seed, *shape)


def scheduler_changes(rng: Random) -> dict:
    spacing = rng.choice(["trailing", "trailing", "trailing", "leading", "linspace"])
    changes = {
        "timestep_spacing": spacing,
        "snr_shift_scale": rng.choice([1.0, 3.0, 0.5, 2.25]),
        "rescale_betas_zero_snr": rng.random() < 0.6,
        "set_alpha_to_one": rng.random() < 0.7,
        "beta_schedule": rng.choice(["scaled_linear", "scaled_linear", "linear", "squaredcos_cap_v2"]),
        "beta_start": rng.choice([0.00085, 0.0005, 0.0001]),
        "beta_end": rng.choice([0.012, 0.02]),
        "num_train_timesteps": rng.choice([1000, 1000, 1000, 500, 777]),
        "clip_sample": rng.random() < 0.3,
        "prediction_type": rng.choice(["v_prediction", "v_prediction", "epsilon", "sample"]),
    }
    if spacing == "leading" and rng.random() < 0.5:
        changes["steps_offset"] = 1
    return changes


def steps_of(kind: type) -> Callable[[Random], Builder]:
    def build(rng: Random) -> Builder:
        changes = scheduler_changes(rng)
        if changes["prediction_type"] != "v_prediction" and changes["timestep_spacing"] != "leading":
            changes["rescale_betas_zero_snr"] = False  # no signal to divide by
        steps = rng.choice([rng.randint(1, 12), rng.randint(1, 60)])
        return scheduler.run(kind, steps, **changes)

    return build


# ---------------------------------------------------------------- pipelines


def whole_pipeline(kind: type) -> Callable[[Random], Builder]:
    def build(rng: Random) -> Builder:
        patch_t = rng.choice([None, None, 2]) if kind in (pipeline.T2V, pipeline.I2V) else None
        blocks = rng.choice([3, 3, 4])
        ratio = 2 ** (blocks - 1)
        patch = 2
        rows, columns = rng.randint(1, 3), rng.randint(1, 3)
        height, width = rows * patch * ratio, columns * patch * ratio
        # The reference's pipelines take any number of frames; n latents decode to 4n - 3 (odd) or 4n (even).
        frames = rng.choice([1, 1, 5, 9] if kind in (pipeline.T2V, pipeline.I2V) else [1, 5, 9])
        latents = (frames - 1) // 4 + 1
        if patch_t:
            latents += -latents % patch_t
        latent_channels = rng.randint(2, 4)
        conditioned = kind in (pipeline.I2V, pipeline.CONTROL)
        positions = "rotary" if patch_t else rng.choice(["sincos", "rotary", "learned"])
        time = multiple(rng, 4, 4)
        model = {
            "sample_height": rows * patch if positions != "rotary" else 60,
            "sample_width": columns * patch if positions != "rotary" else 90,
            "sample_frames": frames if positions != "rotary" else 49,
            "use_rotary_positional_embeddings": positions != "sincos",
            "use_learned_positional_embeddings": positions == "learned",
            "num_attention_heads": rng.randint(1, 2),
            "attention_head_dim": multiple(rng, 16, 2),
            "in_channels": latent_channels * (2 if conditioned else 1),
            "out_channels": latent_channels,
            "time_embed_dim": time,
        }
        if patch_t:
            model |= {"patch_size_t": patch_t, "patch_bias": False, "sample_height": 300, "sample_width": 300}
            if kind is pipeline.I2V and rng.random() < 0.7:
                model["ofs_embed_dim"] = time
        channels = [multiple(rng, 2, 3) for _ in range(blocks)]
        style = {
            "transformer": model,
            "vae": {
                "block_out_channels": channels,
                "down_block_types": ["CogVideoXDownBlock3D"] * blocks,
                "up_block_types": ["CogVideoXUpBlock3D"] * blocks,
                "latent_channels": latent_channels,
                "scaling_factor": rng.choice([0.7, 1.15258426]),
                "invert_scale_latents": rng.random() < 0.4,
            },
            "scheduler": {"snr_shift_scale": rng.choice([1.0, 3.0])},
        }
        sampler = CogVideoXDDIMScheduler if kind is pipeline.CONTROL else rng.choice([CogVideoXDDIMScheduler, CogVideoXDPMScheduler])
        more: dict = {"guidance_scale": rng.choice([6.0, 3.0, 1.0]), "use_dynamic_cfg": rng.random() < 0.4}
        if kind in (pipeline.T2V,):
            more["batch"] = rng.choice([1, 1, 2])
        if kind is pipeline.V2V:
            more["strength"] = rng.choice([0.4, 0.8, 1.0])
        return pipeline.run(kind, sampler, style, height, width, frames, **more)

    return build


# ---------------------------------------------------------------- the draw

MODULES: dict[str, tuple[int, Callable[[Random], Builder]]] = {
    ops.SDPA: (3, attention),
    ops.ROPE: (2, rotary),
    ops.CONV: (4, causal_conv),
    ops.ZERO: (2, norm_zero),
    ops.SPATIAL: (2, spatial_norm),
    ops.BLOCK: (3, block),
    transformer.MODULE: (8, whole_transformer),
    vae.ENCODE: (4, encode),
    vae.DECODE: (4, decode),
    t5.MODULE: (3, t5_encoder),
    tokenizer.MODULE: (2, tokenize),
    random.MODULE: (2, numbers),
    **{kind.__name__: (2, steps_of(kind)) for kind in (CogVideoXDDIMScheduler, CogVideoXDPMScheduler)},
    **{kind.__name__: (1, whole_pipeline(kind)) for kind in (pipeline.T2V, pipeline.I2V, pipeline.V2V, pipeline.CONTROL)},
}
# One round of draws: every module as often as its weight says.
ROUND = [name for name, (weight, _) in MODULES.items() for _ in range(weight)]


def draw(seed: int, index: int) -> Case:
    """Case number `index` of a seed: the modules take turns, the rest is random."""
    name = ROUND[(index * 17) % len(ROUND)]
    rng = Random(zlib.crc32(f"fuzz {seed} {index}".encode()))
    return Case(name, f"fuzz_{seed}_{index}", MODULES[name][1](rng))


# ---------------------------------------------------------------- gradients


def attention_of_keys(rng: Random) -> Builder:
    width = rng.randint(1, 32) * 4 if rng.random() < 0.8 else rng.randint(1, 128)
    queries = rng.randint(1, 70)
    keys = queries if rng.random() < 0.5 else rng.randint(1, 70)
    return ops.attention(rng.randint(1, 2), rng.randint(1, 3), queries, width, rng.choice([1, 1, 4]), keys)


DIFFERENTIABLE: dict[str, tuple[int, Callable[[Random], Builder]]] = {
    ops.SDPA: (3, attention_of_keys),
    ops.ROPE: (1, rotary),
    ops.ZERO: (3, norm_zero),
    ops.BLOCK: (4, block),
    transformer.MODULE: (8, whole_transformer),
}
GRADIENT_ROUND = [name for name, (weight, _) in DIFFERENTIABLE.items() for _ in range(weight)]


def draw_gradients(seed: int, index: int) -> Case:
    """Case number `index` of a seed, with cotangents of some of its outputs and gradients of some of its inputs, weights and adapters."""
    name = GRADIENT_ROUND[(index * 7) % len(GRADIENT_ROUND)]
    text = f"gradients {seed} {index}"
    rng = Random(zlib.crc32(text.encode()))
    build = DIFFERENTIABLE[name][1](rng)
    share = rng.choice([1, 1, 0.5, 0.1])
    return Case(
        name,
        f"gradients_{seed}_{index}",
        differentiated(
            build,
            pick=lambda tensor: zlib.crc32(f"{text} {tensor}".encode()) < share * 2**32,
            steady=2e-5 if name == transformer.MODULE else 2e-6,
        ),
    )


# ---------------------------------------------------------------- training runs


def draw_training(seed: int, index: int) -> Case:
    """Run number `index` of a seed: a few steps of a transformer or of an adapter of it."""
    rng = Random(zlib.crc32(f"training {seed} {index}".encode()))
    config, (frames, channels, height, width), text = transformer_config(rng)
    config["out_channels"] = rng.choice([channels, rng.randint(1, channels)])
    lora = None
    if rng.random() < 0.5:
        layers = [name.replace("transformer_blocks.0.", "") for name in rng.sample(LINEARS, rng.randint(1, 6))]
        targets = [name.removeprefix("attn1.") if rng.random() < 0.5 else name for name in layers]
        lora = Lora(rng.randint(1, 6), rng.choice([1.0, 4.0, 2.5]), targets, rng.random() < 0.5)
    recipe = Recipe(
        config,
        (frames, config["out_channels"], height, width),
        text,
        steps=rng.randint(2, 6),
        clips=rng.randint(1, 2),
        accumulation=rng.choice([1, 1, 2, 3]),
        lora=lora,
        ema=rng.choice([None, 0.9999, 0.5]),
        max_grad_norm=rng.choice([0.1, 1.0, 1000.0]),
        warmup_steps=rng.choice([0, 0, 3]),
        optimizer={"lr": rng.choice([1e-3, 1e-4]), "betas": [0.9, rng.choice([0.95, 0.999])], "weight_decay": rng.choice([0.0, 1e-2, 0.1])},
        scheduler={"snr_shift_scale": rng.choice([1.0, 3.0]), "rescale_betas_zero_snr": rng.random() < 0.7},
        ofs=2.0 if config["ofs_embed_dim"] else None,
    )
    return Case(training.MODULE, f"training_{seed}_{index}", training.train(recipe, steady=(2e-5, 1e-3)))


# Small files of every module, with what had once been wrong among them: kernels that are not square (75), patches whose values
# 4 does not divide (29, 73), a ratio in time that the blocks do not reach (82).
COMMITTED = (10, 14, 25, 29, 39, 41, 43, 46, 54, 55, 63, 67, 71, 73, 74, 75, 80, 81, 82, 89)
CASES = [draw(0, index) for index in COMMITTED]
