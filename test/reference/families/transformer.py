"""CogVideoXTransformer3DModel in the shapes of the published checkpoints, a head or two wide."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel

from case import Case, Content
from draws import Draws
from gradients import Tensors, functional
from families.scheduler import public_config
from hooks import tracing

MODULE = "CogVideoXTransformer3DModel"


def rotary_tables(model: CogVideoXTransformer3DModel, frames: int, height: int, width: int):
    """The pipeline's own rule, called without a pipeline; sizes are the latents'. None when the model has no rotary."""
    if not model.config.use_rotary_positional_embeddings:
        return None
    pipeline = SimpleNamespace(vae_scale_factor_spatial=8, transformer=model)
    rule = CogVideoXPipeline._prepare_rotary_positional_embeddings
    return rule(pipeline, height * 8, width * 8, frames, torch.device("cpu"))


@dataclass
class Adapter:
    """A LoRA adapter: W becomes W + scale * alpha / rank * B @ A, where alpha is the rank unless it is given."""

    scale: float
    rank: int
    layers: tuple[str, ...]
    alpha: float | None = None

    def draw(self, draws: Draws, model: CogVideoXTransformer3DModel) -> dict[str, torch.Tensor]:
        tensors = {}
        for layer in self.layers:
            rows, *inner = model.get_submodule(layer).weight.shape
            name = f"transformer.{layer}"
            tensors[f"{name}.lora_A.weight"] = draws.normal(self.rank, *inner, scale=math.prod(inner) ** -0.5)
            tensors[f"{name}.lora_B.weight"] = draws.normal(rows, self.rank, *(1 for _ in inner[1:]), scale=self.rank**-0.5)
            if self.alpha is not None:
                tensors[f"{name}.alpha"] = torch.tensor(self.alpha)
        return tensors


def load(model: CogVideoXTransformer3DModel, adapters: list[Adapter], tensors: list[dict[str, torch.Tensor]]) -> None:
    names = [str(i) for i in range(len(adapters))]
    for name, adapter in zip(names, tensors, strict=True):
        matrices = {key: tensor for key, tensor in adapter.items() if not key.endswith(".alpha")}
        alphas = {key: tensor.item() for key, tensor in adapter.items() if key.endswith(".alpha")}
        # The pipeline's own loader drops the alphas, so they are handed over here.
        model.load_lora_adapter(matrices, network_alphas=alphas or None, adapter_name=name)
    model.set_adapters(names, [adapter.scale for adapter in adapters])


@contextmanager
def beside(model: CogVideoXTransformer3DModel, adapters: list[Adapter], tensors: Tensors) -> Iterator[None]:
    """While it lasts, layers add what the adapters' factors make of their input: B(A(x)), a convolution's with its kernel and one of 1."""
    with ExitStack() as stack:
        for i, adapter in enumerate(adapters):
            factor = adapter.scale * (1.0 if adapter.alpha is None else adapter.alpha / adapter.rank)
            for layer in adapter.layers:
                down, up = (tensors[f"lora.{i}.transformer.{layer}.lora_{part}.weight"] for part in "AB")

                def add(module, arguments, output, down=down, up=up, factor=factor):
                    if down.ndim == 2:
                        return output + F.linear(F.linear(arguments[0], down), up) * factor
                    return output + F.conv2d(F.conv2d(arguments[0], down, stride=module.stride), up) * factor

                stack.callback(model.get_submodule(layer).register_forward_hook(add).remove)
        yield


def differentiable(model: CogVideoXTransformer3DModel, adapters: list[Adapter], tables) -> Callable[[Tensors], Tensors]:
    """The model as a function of a case's tensors."""

    def call(tensors: Tensors) -> Tensors:
        own = copy.deepcopy(model)
        with beside(own, adapters, tensors):
            return functional(own, lambda given: {"sample": given.sample}, image_rotary_emb=tables)(tensors)

    return call


def forward(
    config: dict,
    shape: tuple[int, int, int, int],
    text: int,
    timesteps: list[int],
    ofs: float | None = None,
    adapters: list[Adapter] | None = None,
):
    """`shape` is the latents' [F, C, H, W]; there is one batch entry a timestep."""
    adapters = adapters or []

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        model = draws.fill(CogVideoXTransformer3DModel(**config))
        batch = len(timesteps)
        inputs = {
            "hidden_states": draws.normal(batch, *shape),
            "encoder_hidden_states": draws.normal(batch, text, model.config.text_embed_dim, scale=0.5),
            "timestep": torch.tensor(timesteps, dtype=torch.int32),
        }
        if ofs is not None:
            inputs["ofs"] = torch.tensor([ofs])
        frames, _, height, width = shape
        tables = rotary_tables(model, frames, height, width)
        weights = model.state_dict()  # taken here: loading an adapter renames the layers
        lora = [adapter.draw(draws, model) for adapter in adapters]
        plain = copy.deepcopy(model)
        if lora:
            load(model, adapters, lora)
        with tracing(case, model) as trace:
            sample = model(**inputs, image_rotary_emb=tables).sample
        return Content(
            config=public_config(model),
            options={"lora": [adapter.scale for adapter in adapters]} if adapters else {},
            inputs=inputs,
            weights=weights,
            lora={f"{i}.{name}": tensor for i, tensors in enumerate(lora) for name, tensor in tensors.items()},
            outputs={"sample": sample},
            trace=trace,
            call=differentiable(plain, adapters, tables),
        )

    return build


def tiny(heads: int, width: int, layers: int, **rest) -> dict:
    return {
        "num_attention_heads": heads,
        "attention_head_dim": width,
        "num_layers": layers,
        "in_channels": 4,
        "out_channels": 4,
        "time_embed_dim": 12,
        "text_embed_dim": 20,
        "max_text_seq_length": 7,
    } | rest


SINCOS = {"sample_height": 6, "sample_width": 10, "sample_frames": 9}
ROTARY = {"sample_height": 60, "sample_width": 90, "sample_frames": 49, "use_rotary_positional_embeddings": True}
LEARNED = SINCOS | {"use_rotary_positional_embeddings": True, "use_learned_positional_embeddings": True, "in_channels": 8}
# 1.5: the published config says patch_bias false, but the linear projection has a bias all the same.
PATCH_T = {
    "sample_height": 300,
    "sample_width": 300,
    "sample_frames": 81,
    "use_rotary_positional_embeddings": True,
    "patch_size_t": 2,
    "patch_bias": False,
}
IMAGE_PATCH_T = PATCH_T | {"in_channels": 8, "ofs_embed_dim": 12}

# The published widths, one block.
TRUE_WIDTH = {"text_embed_dim": 4096, "time_embed_dim": 512, "max_text_seq_length": 226, "in_channels": 16, "out_channels": 16}

ATTENTION = tuple(f"transformer_blocks.0.attn1.{layer}" for layer in ("to_q", "to_k", "to_v", "to_out.0"))
FEED_FORWARD = ("transformer_blocks.0.ff.net.0.proj", "transformer_blocks.0.ff.net.2")
TWO_ADAPTERS = [
    Adapter(scale=0.75, rank=4, layers=ATTENTION, alpha=2.0),
    Adapter(scale=-0.5, rank=3, layers=ATTENTION[:2] + FEED_FORWARD),
]

CASES = [
    Case(MODULE, "2b", forward(tiny(2, 16, 1, **SINCOS), (3, 4, 6, 10), 7, [999, 19])),
    Case(
        MODULE,
        "2b_other_size",
        forward(tiny(1, 16, 1, **SINCOS, temporal_interpolation_scale=1.5), (2, 4, 10, 6), 7, [500]),
    ),
    Case(MODULE, "5b_landscape", forward(tiny(1, 16, 1, **ROTARY), (3, 4, 6, 14), 9, [479])),
    Case(MODULE, "5b_portrait", forward(tiny(1, 16, 1, **ROTARY), (1, 4, 14, 6), 5, [0, 739])),
    Case(MODULE, "5b_i2v", forward(tiny(1, 16, 1, **LEARNED), (3, 8, 6, 10), 7, [959, 239])),
    Case(MODULE, "5b_i2v_other_frames", forward(tiny(1, 16, 1, **LEARNED), (2, 8, 6, 10), 7, [999])),
    Case(MODULE, "1_5", forward(tiny(1, 16, 1, **PATCH_T), (4, 4, 6, 10), 7, [999, 99])),
    Case(MODULE, "1_5_i2v", forward(tiny(1, 16, 2, **IMAGE_PATCH_T), (2, 8, 14, 6), 4, [839, 179], ofs=2.0)),
    Case(
        MODULE,
        "1_5_i2v_traced",
        forward(tiny(2, 16, 2, **IMAGE_PATCH_T), (2, 8, 4, 6), 4, [839, 179], ofs=2.0),
        trace=True,
    ),
    Case(MODULE, "2b_traced", forward(tiny(1, 16, 2, **SINCOS), (2, 4, 6, 10), 7, [500]), trace=True),
    Case(MODULE, "5b_lora", forward(tiny(1, 16, 1, **ROTARY), (1, 4, 6, 10), 5, [599], adapters=TWO_ADAPTERS)),
    Case(
        MODULE,
        "2b_width",
        forward(tiny(30, 64, 1, **TRUE_WIDTH | SINCOS), (2, 16, 12, 20), 226, [999, 19]),
        large=True,
    ),
    Case(
        MODULE,
        "1_5_i2v_width",
        forward(tiny(48, 64, 1, **TRUE_WIDTH | PATCH_T | {"in_channels": 32, "ofs_embed_dim": 512}), (4, 32, 12, 20), 226, [839], ofs=2.0),
        large=True,
    ),
]
