"""The four pipelines, run whole in diffusers' own classes: given text embeddings, tiny models, six steps or fifty.

Every random draw is made by diffusers and recorded (record.py), so that an engine with another generator can replay it:
`latents` is the starting noise, `posterior_noise` the draw behind the VAE's posterior sample, `noise[i]` the
scheduler's draw that step i used. What the scheduler gave in each step is kept too, so that an engine can be given the
reference's state before a step and be judged by that step alone.
"""

from functools import wraps
from unittest.mock import patch

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXFunControlPipeline,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    CogVideoXVideoToVideoPipeline,
)

from case import Case, Content
from draws import Draws
from families.scheduler import COGVIDEOX, public_config
from families.transformer import TWO_ADAPTERS, Adapter, load
from record import recorded_draws

STEPS = 6
TEXT_LENGTH = 5
TEXT_WIDTH = 12

VAE = {"block_out_channels": [4, 4, 4, 4], "norm_num_groups": 2, "layers_per_block": 1, "latent_channels": 4}

# One block less: a quarter of the size instead of an eighth, so more latents for as many pixels.
QUARTER_VAE = {
    "block_out_channels": [4, 4, 4],
    "down_block_types": ["CogVideoXDownBlock3D"] * 3,
    "up_block_types": ["CogVideoXUpBlock3D"] * 3,
}

TRANSFORMER = {
    "num_attention_heads": 1,
    "attention_head_dim": 16,
    "num_layers": 1,
    "in_channels": 4,
    "out_channels": 4,
    "time_embed_dim": 8,
    "text_embed_dim": TEXT_WIDTH,
    "max_text_seq_length": TEXT_LENGTH,
}


def two_b(height: int, width: int, frames: int) -> dict:
    """The 2B's settings; the sincos table is made for these latents."""
    size = {"sample_height": height, "sample_width": width, "sample_frames": frames}
    return {"transformer": size, "vae": {"scaling_factor": 1.15258426}, "scheduler": {"snr_shift_scale": 3.0}}


ROTARY = {"sample_height": 60, "sample_width": 90, "sample_frames": 49, "use_rotary_positional_embeddings": True}
PATCH_T = {"sample_height": 300, "sample_width": 300, "sample_frames": 81, "patch_size_t": 2, "patch_bias": False}
CONDITIONED = {"in_channels": 8}
SCALE = {"scaling_factor": 0.7}

FIVE_B = {"transformer": ROTARY, "vae": SCALE, "scheduler": {}}
FUN_CONTROL = {"transformer": ROTARY | CONDITIONED, "vae": SCALE, "scheduler": {}}
ONE_FIVE = {"transformer": ROTARY | PATCH_T, "vae": SCALE | {"invert_scale_latents": True}, "scheduler": {}}
ONE_FIVE_I2V = ONE_FIVE | {"transformer": ROTARY | PATCH_T | CONDITIONED | {"ofs_embed_dim": 8}}


def five_b_i2v(height: int, width: int, frames: int) -> dict:
    """The learned table fixes the latents' size."""
    size = {"sample_height": height, "sample_width": width, "sample_frames": frames}
    learned = {"use_rotary_positional_embeddings": True, "use_learned_positional_embeddings": True}
    return {"transformer": size | learned | CONDITIONED, "vae": SCALE, "scheduler": {}}


def quarter(style: dict) -> dict:
    return style | {"vae": style["vae"] | QUARTER_VAE}


def assemble(kind: type, scheduler: type, style: dict, draws: Draws):
    vae = draws.fill(AutoencoderKLCogVideoX(**VAE | style["vae"]))
    vae.decoder.conv_out.conv.weight.mul_(0.3)  # most pixels inside 0 … 1, where nothing is clipped
    transformer = draws.fill(CogVideoXTransformer3DModel(**TRANSFORMER | style["transformer"]))
    transformer.proj_out.weight.mul_(0.5)  # guidance widens the prediction again
    pipeline = kind(
        tokenizer=None,
        text_encoder=None,
        vae=vae,
        transformer=transformer,
        scheduler=scheduler(**COGVIDEOX | style["scheduler"]),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pipeline_config(pipeline) -> dict:
    scheduler = public_config(pipeline.scheduler) | {"_class_name": type(pipeline.scheduler).__name__}
    return {
        "vae": public_config(pipeline.vae),
        "transformer": public_config(pipeline.transformer),
        "scheduler": scheduler,
    }


def run(
    kind: type,
    scheduler: type,
    style: dict,
    height: int,
    width: int,
    num_frames: int,
    guidance_scale: float = 6.0,
    use_dynamic_cfg: bool = False,
    batch: int = 1,
    strength: float | None = None,
    steps: int = STEPS,
    adapters: list[Adapter] | None = None,
):
    def build(case: Case) -> Content:
        draws = Draws(case.id)
        pipeline = assemble(kind, scheduler, style, draws)
        # Taken before the adapters are loaded, for they rename what they wrap.
        plain = dict(pipeline.transformer.state_dict())
        lora = [adapter.draw(draws, pipeline.transformer) for adapter in adapters or []]
        if lora:
            load(pipeline.transformer, adapters, lora)
        options = {
            "height": height,
            "width": width,
            "num_frames": num_frames,
            "num_inference_steps": steps,
            "guidance_scale": guidance_scale,
            "use_dynamic_cfg": use_dynamic_cfg,
        }
        arguments = {name: value for name, value in options.items() if name != "num_frames"}
        inputs = {"prompt_embeds": draws.normal(batch, TEXT_LENGTH, TEXT_WIDTH)}
        if guidance_scale > 1:
            inputs["negative_prompt_embeds"] = draws.normal(batch, TEXT_LENGTH, TEXT_WIDTH)
        arguments |= inputs
        if strength is not None:
            options["strength"] = arguments["strength"] = strength

        # The pipelines take pixels in 0 … 1; what is stored is what they feed to the VAE, in -1 … 1.
        frames = 1 if kind is CogVideoXImageToVideoPipeline else num_frames
        pixels = (draws.pixels(batch, frames, 3, height, width) + 1) / 2
        if kind is CogVideoXPipeline:
            arguments["num_frames"] = num_frames
        elif kind is CogVideoXImageToVideoPipeline:
            arguments["num_frames"] = num_frames
            arguments["image"] = pixels[:, 0]
            inputs["image"] = pipeline.video_processor.preprocess(pixels[:, 0], height, width).unsqueeze(1)
        elif kind is CogVideoXVideoToVideoPipeline:
            arguments["video"] = list(pixels[0])  # one video, as a list of its frames
            inputs["video"] = pipeline.video_processor.preprocess_video(pixels, height, width).transpose(1, 2)
        else:
            arguments["control_video"] = pixels
            inputs["control_video"] = pipeline.video_processor.preprocess_video(pixels, height, width).transpose(1, 2)

        with recorded_draws() as made:
            used, last, given = [], {}, []
            take_step = pipeline.scheduler.step

            def on_step(_pipeline, _step, _timestep, tensors):
                used.append(made[-1].value)
                last["latents"] = tensors["latents"]
                return tensors

            @wraps(take_step)  # pipelines look at its parameters to see whether it takes a generator
            def step(*step_arguments, **step_options):
                given.append(take_step(*step_arguments, **step_options))
                return given[-1]

            generator = torch.Generator().manual_seed(1234)
            with patch.object(pipeline.scheduler, "step", step):
                result = pipeline(**arguments, generator=generator, callback_on_step_end=on_step, output_type="pt")

        start = [draw.value for draw in made if draw.place not in ("posterior", "scheduler")]
        posterior = [draw.value for draw in made if draw.place == "posterior"]
        if len(start) != 1:
            raise ValueError(f"{case.id}: expected one draw of starting noise, got {len(start)}")
        inputs["latents"] = start[0]
        if posterior:
            inputs["posterior_noise"] = torch.cat(posterior)
        if scheduler is CogVideoXDPMScheduler:
            inputs["noise"] = torch.stack(used)

        after_steps = {"latents": torch.stack([state[0] for state in given])}
        if scheduler is CogVideoXDPMScheduler:
            after_steps["original"] = torch.stack([state[1] for state in given])

        # Text to video never touches the encoder.
        left_out = "encoder." if kind is CogVideoXPipeline else None
        weights = {f"transformer.{name}": tensor for name, tensor in plain.items()}
        for name, tensor in pipeline.vae.state_dict().items():
            if left_out is None or not name.startswith(left_out):
                weights[f"vae.{name}"] = tensor
        return Content(
            config=pipeline_config(pipeline),
            options=options | ({"lora": [adapter.scale for adapter in adapters]} if adapters else {}),
            lora={f"{i}.{name}": tensor for i, tensors in enumerate(lora) for name, tensor in tensors.items()},
            inputs=inputs,
            weights=weights,
            outputs={"latents": last["latents"], "frames": result.frames},
            steps=after_steps,
        )

    return build


T2V, I2V = CogVideoXPipeline, CogVideoXImageToVideoPipeline
V2V, CONTROL = CogVideoXVideoToVideoPipeline, CogVideoXFunControlPipeline
DDIM, DPM = CogVideoXDDIMScheduler, CogVideoXDPMScheduler


def case(name: str, kind: type, *arguments, **more) -> Case:
    return Case(kind.__name__, name, run(kind, *arguments, **more))


CASES = [
    case("2b_ddim_batch", T2V, DDIM, two_b(2, 6, 1), 16, 48, 1, guidance_scale=3.0, batch=2),
    case("2b_ddim_50", T2V, DDIM, quarter(two_b(4, 6, 1)), 16, 24, 1, steps=50),
    case("5b_dpm_50", T2V, DPM, quarter(FIVE_B), 16, 24, 5, use_dynamic_cfg=True, steps=50),
    case("5b_dpm_dynamic", T2V, DPM, FIVE_B, 16, 32, 9, use_dynamic_cfg=True),
    case("1_5_dpm_dynamic", T2V, DPM, quarter(ONE_FIVE), 16, 16, 9, use_dynamic_cfg=True),
    case("5b_dpm_dynamic", I2V, DPM, quarter(five_b_i2v(4, 4, 5)), 16, 16, 5, use_dynamic_cfg=True),
    case("1_5_ddim_no_guidance", I2V, DDIM, quarter(ONE_FIVE_I2V), 16, 16, 5, guidance_scale=1.0),
    case("1_5_dpm_padded", I2V, DPM, quarter(ONE_FIVE_I2V), 16, 32, 1),
    case("2b_ddim", V2V, DDIM, quarter(two_b(4, 4, 9)), 16, 16, 9, strength=0.8),
    case("5b_dpm_dynamic", V2V, DPM, FIVE_B, 16, 16, 5, use_dynamic_cfg=True, strength=0.5),
    case("5b_ddim_lora", T2V, DDIM, quarter(FIVE_B), 16, 24, 5, adapters=TWO_ADAPTERS),
    case("1_5_dpm_lora", I2V, DPM, quarter(ONE_FIVE_I2V), 16, 16, 5, adapters=TWO_ADAPTERS[:1]),
    case("5b_ddim_dynamic", CONTROL, DDIM, quarter(FUN_CONTROL), 16, 16, 5, use_dynamic_cfg=True),
]
