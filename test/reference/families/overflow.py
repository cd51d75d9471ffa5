"""Cases whose values pass f16's 65,504: right in float32, infinite or NaN somewhere in the reference's own float16.

Each is checked when it is made: the reference is run in float16 on the same weights and inputs, and must break. T5's blocks
clamp their infinities in float16, so it is enough that a module's output was infinite and that what comes out is wrong.
"""

import copy

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock
from transformers import T5Config, T5EncoderModel

from case import Case, Content
from draws import Draws
from families import t5, transformer, vae
from families.ops import block_config, rotary_tables as block_tables
from families.scheduler import public_config

def largest(model: torch.nn.Module, run, wanted: str) -> float:
    """The largest output, in float32, of the modules whose name ends in `wanted`."""
    found: list[float] = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, out: found.append((out[0] if isinstance(out, tuple) else out).abs().max().item()))
        for name, module in model.named_modules()
        if name.endswith(wanted)
    ]
    run(model)
    for hook in hooks:
        hook.remove()
    return max(found)


def breaks_in_half(case: Case, model: torch.nn.Module, run, want: torch.Tensor) -> None:
    """Raises unless the model in float16 makes an infinity or a NaN on the way and its result is not the float32 one."""
    half = copy.deepcopy(model).half()
    for name, weight in half.state_dict().items():
        if not torch.isfinite(weight).all():
            raise ValueError(f"{case.id}: weights must fit float16, got an infinity in {name}")
    broken: list[str] = []

    def look(name: str):
        def hook(_module, _inputs, out):
            tensors = out if isinstance(out, tuple) else (out,)
            if not broken and any(torch.is_tensor(t) and not torch.isfinite(t).all() for t in tensors):
                broken.append(name)

        return hook

    for name, module in half.named_modules():
        module.register_forward_hook(look(name))
    got = run(half).float()
    error = (got - want).norm() / want.norm()
    if not broken or error <= 5e-3:
        raise ValueError(f"{case.id}: float16 must break, got a relative error of {error:.3g}, first infinity in {broken}")


def encoder(case: Case) -> Content:
    """wi and wo as in trained T5: products of 1e3 to 1e4, and 1e5 and more out of wo, on the residual stream."""
    draws = Draws(case.id)
    settings = T5Config(feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False, **t5.tiny(24, 3, 8, 36, 2))
    settings._attn_implementation = "eager"
    model = draws.fill(T5EncoderModel(settings))
    for block in model.encoder.block:
        block.layer[0].SelfAttention.q.weight.div_(settings.d_kv**0.5)
        feed = block.layer[1].DenseReluDense
        feed.wi_0.weight.mul_(30)
        feed.wi_1.weight.mul_(60)
        feed.wo.weight.mul_(100)
    input_ids = draws.integers(3, settings.vocab_size, 2, 13)

    def run(m):
        return m(input_ids.to(torch.int64)).last_hidden_state

    if largest(model, run, "wo") < 1e5:
        raise ValueError(f"{case.id}: wo must pass 1e5")
    want = run(model)
    breaks_in_half(case, model, run, want)
    weights = model.state_dict()
    weights.pop("encoder.embed_tokens.weight")
    config = {name: getattr(settings, name) for name in t5.CONFIG_NAMES}
    return Content(config=config, inputs={"input_ids": input_ids}, weights=weights, outputs={"last_hidden_state": want})


def block(case: Case) -> Content:
    """A residual stream of 1e5 in both texts and video, of which the block's own part is large too."""
    draws = Draws(case.id)
    config = block_config(2, 16, 8)
    module = draws.fill(CogVideoXBlock(**config))
    for linear in (module.attn1.to_out[0], module.ff.net[2]):
        linear.weight.mul_(1e4)
    rotary = {"crops_coords": None, "embed_dim": 16, "grid_size": [3, 5], "temporal_size": 2, "grid_type": "slice", "max_size": [9, 150]}
    inputs = {
        "hidden_states": draws.normal(1, 30, 32, scale=1e5),
        "encoder_hidden_states": draws.normal(1, 7, 32, scale=1e5),
        "temb": draws.normal(1, 8),
    }
    tables = block_tables(rotary)

    def run(m):
        dtype = m.norm1.linear.weight.dtype
        return m(**{name: x.to(dtype) for name, x in inputs.items()}, image_rotary_emb=tables)[0]

    hidden, encoder_hidden = module(**inputs, image_rotary_emb=tables)
    breaks_in_half(case, module, run, hidden)
    return Content(
        config=config, options={"rotary": rotary}, inputs=inputs, weights=module.state_dict(),
        outputs={"hidden_states": hidden, "encoder_hidden_states": encoder_hidden},
    )


def model(latents: float, text: float, residual: float):
    """Inputs that are scaled, and layers that write `residual` times as much to the residual stream."""

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        net = draws.fill(CogVideoXTransformer3DModel(**transformer.tiny(1, 16, 2, **transformer.ROTARY)))
        for b in net.transformer_blocks:
            for linear in (b.attn1.to_out[0], b.ff.net[2]):
                linear.weight.mul_(residual)
            if residual > 1:  # gates of 3, so that the weights themselves stay within float16
                b.norm1.linear.weight.mul_(3)
                b.norm2.linear.weight.mul_(3)
        inputs = {
            "hidden_states": draws.normal(2, 2, 4, 6, 10, scale=latents),
            "encoder_hidden_states": draws.normal(2, 7, 20, scale=text),
            "timestep": torch.tensor([999, 19], dtype=torch.int32),
        }
        tables = transformer.rotary_tables(net, 2, 6, 10)

        def run(m):
            return m(**{name: x.to(m.dtype) if x.is_floating_point() else x for name, x in inputs.items()}, image_rotary_emb=tables).sample

        if largest(net, run, "transformer_blocks.1") < 1e5:
            raise ValueError(f"{case.id}: the residual stream must pass 1e5")
        want = run(net)
        breaks_in_half(case, net, run, want)
        return Content(config=public_config(net), inputs=inputs, weights=net.state_dict(), outputs={"sample": want})

    return build


def encode(case: Case) -> Content:
    """Pixels of 1e5."""
    draws = Draws(case.id)
    net = draws.fill(AutoencoderKLCogVideoX(**vae.SMALL))
    x = draws.pixels(1, 3, 5, 16, 16) * 1e5

    def run(m):
        return m.encode(x.to(m.dtype)).latent_dist.mean

    posterior = net.encode(x).latent_dist
    breaks_in_half(case, net, run, posterior.mean)
    return Content(config=public_config(net), inputs={"x": x}, weights=vae.half_of(net, "encoder"), outputs={"mean": posterior.mean, "logvar": posterior.logvar})


def decode(case: Case) -> Content:
    """A residual stream of 1e5 from the first convolution on, to which every block adds as much."""
    draws = Draws(case.id)
    net = draws.fill(AutoencoderKLCogVideoX(**vae.SMALL))
    for name, weight in net.decoder.named_parameters():
        if name == "conv_in.conv.weight" or name.endswith("conv2.conv.weight"):
            weight.mul_(1.2e5)
    z = draws.normal(1, 4, 3, 2, 3)

    def run(m):
        return m.decode(z.to(m.dtype)).sample

    if largest(net, run, "conv_in") < 1e5:
        raise ValueError(f"{case.id}: the residual stream must pass 1e5")
    want = run(net)
    breaks_in_half(case, net, run, want)
    return Content(config=public_config(net), inputs={"z": z}, weights=vae.half_of(net, "decoder"), outputs={"sample": want})


CASES = [
    Case(t5.MODULE, "f16_overflow", encoder),
    Case("CogVideoXBlock", "f16_overflow", block),
    Case(transformer.MODULE, "f16_overflow_inputs", model(latents=2e5, text=2e5, residual=1)),
    Case(transformer.MODULE, "f16_overflow_residual", model(latents=1, text=0.5, residual=5e4)),
    Case(vae.ENCODE, "f16_overflow", encode),
    Case(vae.DECODE, "f16_overflow", decode),
]
