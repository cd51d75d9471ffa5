"""Records what is inside a module while it runs: the outputs of all of its submodules, by their own paths.

    with recorded(model) as trace:
        model(...)

fills `trace` with tensors named as a case names them after `trace.`: `<call>.<module path>`, where call counts the calls
of that submodule from 0 (a VAE is called once for each batch of frames). A tuple's parts are `<path>:<i>`. Where a
function without a module of its own stands before a layer, the layer's input is kept as `<path>:input`, and the
operands of scaled_dot_product_attention as `<path>:query`, `:key` and `:value` of the module that called it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from torch import nn

from case import Case

# Modules of the format that `cogwheel validate --trace` can follow.
MODULES = (
    "CogVideoXBlock",
    "CogVideoXTransformer3DModel",
    "T5EncoderModel",
    "AutoencoderKLCogVideoX.encode",
    "AutoencoderKLCogVideoX.decode",
)

# Attention, the gated GELU and pooling in time are functions: what they give is seen as the next layer's input.
INPUTS = ("to_out.0", "SelfAttention.o", "DenseReluDense.wo", "downsamplers.0.conv")


def redundant(modules: dict[str, nn.Module], path: str) -> bool:
    """Dropout changes nothing here; a causal convolution says itself what the one inside of it gives."""
    parent = modules.get(path.rpartition(".")[0])
    return path == "" or isinstance(modules[path], nn.Dropout) or isinstance(parent, CogVideoXCausalConv3d)


@contextmanager
def recorded(model: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    trace: dict[str, torch.Tensor] = {}
    modules = dict(model.named_modules())
    calls = dict.fromkeys(modules, 0)
    running: list[str] = []

    def keep(path: str, suffix: str, value: object) -> None:
        if isinstance(value, torch.Tensor):
            # Copied: the reference goes on to write into some of them.
            trace[f"{calls[path]}.{path}{suffix}"] = value.detach().clone(memory_format=torch.contiguous_format)

    def before(path: str):
        def hook(_module, arguments):
            running.append(path)
            if path.endswith(INPUTS) and not redundant(modules, path):
                keep(path, ":input", arguments[0])

        return hook

    def after(path: str):
        def hook(module, _arguments, output):
            running.pop()
            if not redundant(modules, path):
                parts = output if isinstance(output, tuple) else ()
                if isinstance(module, CogVideoXCausalConv3d) and module.time_kernel_size == 1:
                    parts = parts[:1]  # the rest is its input
                keep(path, "", output)
                for i, part in enumerate(parts):
                    keep(path, f":{i}", part)
            calls[path] += 1

        return hook

    attention = F.scaled_dot_product_attention

    def attend(query, key, value, *more, **options):
        for name, operand in (("query", query), ("key", key), ("value", value)):
            keep(running[-1], f":{name}", operand)
        return attention(query, key, value, *more, **options)

    hooks = [module.register_forward_pre_hook(before(path)) for path, module in modules.items()]
    hooks += [module.register_forward_hook(after(path)) for path, module in modules.items()]
    try:
        with patch.object(F, "scaled_dot_product_attention", attend):
            yield trace
    finally:
        for hook in hooks:
            hook.remove()


def tracing(case: Case, model: nn.Module):
    """`recorded(model)` for a case that wants a trace; nothing is recorded for others."""
    return recorded(model) if case.trace else nullcontext({})
