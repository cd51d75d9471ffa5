"""Gradients of a case: cotangents are drawn for its outputs, torch.autograd gives the gradients that are asked for.

    Case(ops.BLOCK, "gradients", differentiated(ops.block(...), weights="attn1"))

wraps the builder of any case whose content has a `call`. The option `torch_f16` tells how far torch's own float16 autograd is from float32.
"""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.func import functional_call

from case import Case, Content
from draws import Draws

Tensors = dict[str, torch.Tensor]


def group(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def functional(module: nn.Module, outputs: Callable[[object], Tensors], **constant) -> Callable[[Tensors], Tensors]:
    """A module as a function of `input.…` and `weight.…`; `constant`: arguments that are none of the case's."""

    def call(tensors: Tensors) -> Tensors:
        weights = group(tensors, "weight.")
        kind = next(tensor.dtype for tensor in weights.values())
        own = nn.Module.to(copy.deepcopy(module), kind)  # diffusers' own warns
        return outputs(functional_call(own, weights, kwargs=group(tensors, "input.") | constant))

    return call


def backward(call: Callable[[Tensors], Tensors], tensors: Tensors, cotangents: Tensors, names: Iterable[str], kind: torch.dtype) -> tuple[Tensors, Tensors]:
    """Outputs, and gradients by name, computed in `kind`."""
    wanted = set(names)
    leaves = {}
    for name, tensor in tensors.items():
        leaves[name] = tensor.detach().to(kind) if tensor.is_floating_point() else tensor
        if name in wanted:
            leaves[name].requires_grad_(True)
    with torch.enable_grad():
        outputs = call(leaves)
    pairs = [(outputs[name], cotangent.to(kind)) for name, cotangent in cotangents.items()]
    gradients = torch.autograd.grad(
        [output for output, _ in pairs],
        [leaves[name] for name in names],
        [cotangent for _, cotangent in pairs],
        allow_unused=True,
        materialize_grads=True,
    )
    return outputs, dict(zip(names, gradients, strict=True))


def relative(got: torch.Tensor, want: torch.Tensor, scale: float) -> float:
    """To three figures: more of it would be another number on another CPU."""
    return float(f"{(got.double() - want.double()).norm().item() / scale:.3g}")


def differentiated(
    build: Callable[[Case], Content],
    inputs: Iterable[str] | None = None,
    weights: str | Iterable[str] | None = "",
    lora: bool = True,
    cotangents: Iterable[str] | None = None,
    half: bool = True,
    pick: Callable[[str], bool] = lambda name: True,
    steady: float | None = None,
):
    """
    `inputs`, `cotangents`: which have one (default: all); `weights`: those that begin with this or with one of these, None for none. Of these
    `pick` takes some, by "input.…", "weight.…", "lora.…" and "cotangent.…"; all of them where it takes none.
    `steady`: gradients that float32 itself misses by more than this, of sums that nearly cancel out, are left out.
    """

    def with_gradients(case: Case) -> Content:
        content = build(case)
        tensors = {f"input.{name}": tensor for name, tensor in content.inputs.items()}
        tensors |= {f"weight.{name}": tensor for name, tensor in content.weights.items()}
        tensors |= {f"lora.{name}": tensor for name, tensor in content.lora.items()}
        prefixes = () if weights is None else (weights,) if isinstance(weights, str) else tuple(weights)
        names = [
            name
            for name, tensor in tensors.items()
            if tensor.is_floating_point()
            and (
                (name.startswith("input.") and name != "input.ofs" and (inputs is None or name.removeprefix("input.") in inputs))
                or (name.startswith("weight.") and name.removeprefix("weight.").startswith(prefixes))
                or (name.startswith("lora.") and lora and not name.endswith(".alpha"))
            )
        ]
        names = [name for name in names if pick(name)] or names
        given = [name for name in content.outputs if cotangents is None or name in cotangents]
        draws = Draws(f"{case.id} cotangents")
        content.cotangents = {
            name: draws.normal(*content.outputs[name].shape) for name in [name for name in given if pick(f"cotangent.{name}")] or given
        }
        outputs, content.gradients = backward(content.call, tensors, content.cotangents, names, torch.float32)
        for name, output in content.outputs.items():  # what is differentiated is what the reference computes
            torch.testing.assert_close(outputs[name], output, rtol=1e-4, atol=1e-5)
        if steady is not None:
            _, exact = backward(content.call, tensors, content.cotangents, names, torch.float64)
            size = max(gradient.norm() for gradient in exact.values())
            missed = {name: (content.gradients[name].double() - want).norm() for name, want in exact.items()}
            names = [name for name in names if missed[name] <= steady * exact[name].norm() or exact[name].norm() < 1e-7 * size] or names[:1]
            content.gradients = {name: content.gradients[name] for name in names}
        if half:
            _, rough = backward(content.call, tensors, content.cotangents, names, torch.float16)
            largest = max(gradient.norm().item() for gradient in content.gradients.values())
            errors = {}
            for name, want in content.gradients.items():
                size = want.norm().item()
                errors[name] = relative(rough[name], want, size if size >= 1e-6 * largest else largest)
            content.options = content.options | {"torch_f16": errors}
        return content

    return with_gradients
