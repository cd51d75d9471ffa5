"""What the three trainings share: optimiser, averaged weights, schedule, resumable state."""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import torch
from torch import nn


def parser(description: str) -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--work", type=Path, required=True, help="folder for caches, logs and resumable state")
    result.add_argument("--threads", type=int, default=2)
    result.add_argument("--seed", type=int, default=0)
    return result


def orthogonalise(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Newton-Schulz iteration to the nearest semi-orthogonal matrix (the quintic of Muon)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = (matrix / (matrix.norm() + 1e-7)).bfloat16()
    transposed = x.shape[0] > x.shape[1]
    if transposed:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if transposed else x).float()


class MuonAdamW(torch.optim.Optimizer):
    """Muon for the hidden weight matrices (convolutions flattened), AdamW for everything else.

    Muon's update is scaled to the root mean square of AdamW's, so one learning rate serves both.
    """

    def __init__(self, module: nn.Module, lr: float, adam_only=(), momentum=0.95, betas=(0.9, 0.98), weight_decay=0.0):
        matrices, others = [], []
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            hidden = parameter.ndim >= 2 and not any(word in name for word in adam_only)
            (matrices if hidden else others).append(parameter)
        groups = [dict(params=matrices, muon=True), dict(params=others, muon=False)]
        super().__init__(groups, dict(lr=lr, momentum=momentum, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                first = state.setdefault("first", torch.zeros_like(p))
                if group["muon"]:
                    first.lerp_(p.grad, 1 - group["momentum"])
                    direction = p.grad.lerp(first, group["momentum"]).flatten(1)
                    update = orthogonalise(direction) * (0.2 * math.sqrt(max(direction.shape)))
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.view_as(p), alpha=-group["lr"])
                else:
                    b1, b2 = group["betas"]
                    second = state.setdefault("second", torch.zeros_like(p))
                    first.lerp_(p.grad, 1 - b1)
                    second.mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
                    t = state["step"]
                    scale = (second / (1 - b2**t)).sqrt_().add_(1e-8)
                    p.addcdiv_(first, scale, value=-group["lr"] / (1 - b1**t))


class Average:
    """Exponential moving average of a module's parameters, with a warm-up of the decay."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay, self.count = decay, 0
        self.values = {k: v.detach().clone() for k, v in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module):
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        for k, v in module.named_parameters():
            self.values[k].lerp_(v, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module):
        for k, v in module.named_parameters():
            v.copy_(self.values[k])


def learning_rate(step: int, total: int, peak: float, warmup: int = 100, decay: float = 0.3, floor: float = 0.01) -> float:
    """Warm-up, plateau, then a linear fall over the last `decay` share of the steps."""
    rising = min(1.0, (step + 1) / warmup)
    falling = max(floor, min(1.0, (total - step) / (decay * total)))
    return peak * min(rising, falling)


def set_learning_rate(optimiser: torch.optim.Optimizer, value: float):
    for group in optimiser.param_groups:
        group["lr"] = value


def save(path: Path, **state):
    """Write atomically, so that a killed process leaves the earlier state whole."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load(path: Path) -> dict | None:
    return torch.load(path, weights_only=True) if path.exists() else None


class Log:
    """Lines to standard output and to a file in the working folder."""

    def __init__(self, path: Path):
        self.path = path

    def __call__(self, text: str):
        line = f"{time.strftime('%H:%M:%S')} {text}"
        print(line, flush=True)
        with self.path.open("a") as file:
            file.write(line + "\n")


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
