"""Seeded random tensors and weights.

The draws come from NumPy's PCG64, seeded with the case's own name, so a case does not depend on which others were
made before it, nor on the vector width of the CPU. Weights are scaled by their fan-in so that activations stay near 1,
and nothing is left at a neutral value: a norm scale that is ignored, or a bias that is dropped, shows in the output.
"""

import math
import zlib

import numpy as np
import torch
from torch import nn


class Draws:
    def __init__(self, seed: str):
        self.rng = np.random.Generator(np.random.PCG64(zlib.crc32(seed.encode())))

    def normal(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> torch.Tensor:
        values = self.rng.standard_normal(shape, dtype=np.float32)
        return torch.from_numpy(values * np.float32(scale) + np.float32(mean))

    def pixels(self, *shape: int) -> torch.Tensor:
        """Values in -1 … 1."""
        return torch.from_numpy(self.rng.random(shape, dtype=np.float32) * np.float32(2) - np.float32(1))

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.from_numpy(self.rng.integers(low, high, shape, dtype=np.int32))

    def fill(self, module: nn.Module) -> nn.Module:
        """Gives every parameter and persistent buffer a random value, and returns the module in eval mode."""
        seen: set[int] = set()
        for name, tensor in sorted(module.state_dict().items()):
            if tensor.data_ptr() not in seen:  # tied weights are drawn once
                seen.add(tensor.data_ptr())
                tensor.copy_(self.weight(name, tuple(tensor.shape)))
        for owner in module.modules():  # position tables start out as float64; they are cast when they are added
            for name, table in owner.named_buffers(recurse=False):
                if table.dtype == torch.float64:
                    owner._buffers[name] = table.to(torch.float32)
        return module.eval().requires_grad_(False)

    def weight(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        parent, _, leaf = name.rpartition(".")
        if "conv_y" in parent and leaf == "bias":  # SpatialNorm3D: the scale's bias stands where a norm's weight would
            return self.normal(*shape, scale=0.2, mean=1.0)
        if leaf == "bias":
            return self.normal(*shape, scale=0.1)
        if parent.endswith(("norm_q", "norm_k")):  # peaked attention, so that places matter
            return self.normal(*shape, scale=0.5, mean=2.0)
        if len(shape) == 1:  # the scale of a LayerNorm, GroupNorm or RMS norm
            return self.normal(*shape, scale=0.25, mean=1.0)
        if parent.endswith(("shared", "embed_tokens", "relative_attention_bias")) or leaf == "pos_embedding":
            return self.normal(*shape)
        return self.normal(*shape, scale=1 / math.sqrt(math.prod(shape[1:])))
