"""What judges a VAE's pictures: LPIPS over a narrow VGG16, and 3-D patch discriminators.

Neither is part of a package of requirements.txt: they are written here as PyPI lpips 0.1.4 and as published discriminators have them.
"""

import math

import torch
from torch import nn
from torch.autograd import forward_ad

from case import Case, Content
from draws import Draws
from gradients import differentiated, functional

LPIPS = "LPIPS"
DISCRIMINATOR = "NLayerDiscriminator3D"
TANGENT = "NLayerDiscriminator3D.jvp"

# ---------------------------------------------------------------- LPIPS

# Convolutions of VGG16, by slice; all but the first slice begin with a pool.
SLICES = (2, 2, 3, 3, 3)


class Vgg16(nn.Module):
    """torchvision's `features` up to relu5_3, with channels of one's own."""

    def __init__(self, channels: list[int]):
        super().__init__()
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        before, widths = 3, iter(channels)
        for slice_, count in enumerate(SLICES):
            if slice_:
                layers.append(nn.MaxPool2d(2, 2))
            for _ in range(count):
                width = next(widths)
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            self.ends.append(len(layers))
        self.features = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for i, layer in enumerate(self.features, start=1):
            x = layer(x)
            if i in self.ends:
                found.append(x)
        return found


class Head(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))


class Lpips(nn.Module):
    def __init__(self, channels: list[int]):
        super().__init__()
        self.net = Vgg16(channels)
        ends = [sum(SLICES[: i + 1]) - 1 for i in range(5)]
        for i, end in enumerate(ends):
            setattr(self, f"lin{i}", Head(channels[end]))

    def forward(self, in0: torch.Tensor, in1: torch.Tensor) -> torch.Tensor:
        shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float32).to(in0.dtype)[None, :, None, None]
        scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float32).to(in0.dtype)[None, :, None, None]
        features = [self.net((x - shift) / scale) for x in (in0, in1)]
        total = 0
        for i, (a, b) in enumerate(zip(*features, strict=True)):
            a, b = (x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in (a, b))
            total = total + getattr(self, f"lin{i}").model((a - b).square()).mean([2, 3], keepdim=True)
        return total


def drawn_lpips(draws: Draws, channels: list[int]) -> Lpips:
    model = draws.fill(Lpips(channels))
    for name, weight in model.state_dict().items():
        if name.startswith("lin"):  # those of the package are all above zero
            weight.copy_(weight.abs() + 0.05)
        elif name.endswith("weight"):  # a rectifier halves what goes through; without this only the biases are left in the end
            weight.mul_(math.sqrt(2))
    return model


def lpips(channels: list[int], shape: tuple[int, int, int], near: float | None = None):
    """`shape`: N, H, W. `near`: the second pictures are the first with so much noise."""

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        model = drawn_lpips(draws, channels)
        n, height, width = shape
        in0 = draws.pixels(n, 3, height, width)
        in1 = draws.pixels(n, 3, height, width)
        if near is not None:
            in1 = (in0 + near * in1).clamp(-1, 1)
        inputs = {"in0": in0, "in1": in1}
        return Content(
            config={"net": "vgg"},
            inputs=inputs,
            weights=model.state_dict(),
            outputs={"sample": model(**inputs)},
            call=functional(model, lambda sample: {"sample": sample}),
        )

    return build


# ---------------------------------------------------------------- discriminators


class NLayerDiscriminator3D(nn.Module):
    def __init__(self, input_nc: int, ndf: int, n_layers: int, kernel_size: int, norm: str, strides: list[list[int]]):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv3d(input_nc, ndf, kernel_size, tuple(strides[0]), 1), nn.LeakyReLU(0.2)]
        before = ndf
        for n in range(1, n_layers + 1):
            width = ndf * min(2**n, 8)
            layers.append(nn.Conv3d(before, width, kernel_size, tuple(strides[n]), 1, bias=norm != "batch"))
            if norm == "batch":
                layers.append(nn.BatchNorm3d(width))
                layers[-1].num_batches_tracked = None  # counts for nothing, the momentum being given
            elif norm == "instance":
                layers.append(nn.InstanceNorm3d(width))
            layers.append(nn.LeakyReLU(0.2))
            before = width
        layers.append(nn.Conv3d(before, 1, kernel_size, tuple(strides[-1]), 1))
        self.main = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x)


def functional_discriminator(model: nn.Module, train: bool):
    """`functional`, in the mode that is asked for. Running statistics are copies, which training moves."""
    model.train(train)
    call = functional(model, lambda sample: {"sample": sample})
    return lambda tensors: call({name: tensor if trained(name) else tensor.clone() for name, tensor in tensors.items()})


def trained(name: str) -> bool:
    """Running statistics are no parameters."""
    return "running_" not in name


def discriminator(config: dict, shape: tuple[int, ...], train: bool = True):
    def build(case: Case) -> Content:
        draws = Draws(case.id)
        model = draws.fill(NLayerDiscriminator3D(**config))
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        x = draws.pixels(*shape)
        call = functional_discriminator(model, train)
        given = {"input.x": x} | {f"weight.{name}": tensor for name, tensor in weights.items()}
        return Content(config=config, options={"train": train}, inputs={"x": x}, weights=weights, outputs=call(given), call=call)

    return build


class OwnStatistics(nn.Module):
    """A norm by its own statistics, written out: torch's batch_norm has no third derivative, and its dual numbers hold statistics fixed."""

    def __init__(self, norm: nn.Module, axes: list[int]):
        super().__init__()
        self.axes, self.eps, self.weight, self.bias = axes, norm.eps, norm.weight, norm.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        off = x - x.mean(self.axes, keepdim=True)
        y = off / (off.square().mean(self.axes, keepdim=True) + self.eps).sqrt()
        return y if self.weight is None else y * self.weight[:, None, None, None] + self.bias[:, None, None, None]


def tangent(config: dict, shape: tuple[int, ...]):
    """By how much the scores move when x does along v, by dual numbers, through which a backward pass goes."""
    axes = [0, 2, 3, 4] if config["norm"] == "batch" else [2, 3, 4]

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        model = draws.fill(NLayerDiscriminator3D(**config))
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items() if trained(name)}
        x, v = draws.pixels(*shape), draws.normal(*shape)
        for i, layer in enumerate(model.main):
            if isinstance(layer, (nn.BatchNorm3d, nn.InstanceNorm3d)):
                model.main[i] = OwnStatistics(layer, axes)

        def call(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            scores = functional(model, lambda sample: {"sample": sample})
            at, along = tensors["input.x"], tensors["input.v"]
            rest = {name: tensor for name, tensor in tensors.items() if name.startswith("weight.")}
            with torch.enable_grad(), forward_ad.dual_level():
                dual = forward_ad.make_dual(at, along)
                return {"sample": forward_ad.unpack_dual(scores({"input.x": dual} | rest)["sample"]).tangent}

        given = {"input.x": x, "input.v": v} | {f"weight.{name}": tensor for name, tensor in weights.items()}
        outputs = {name: tensor.detach() for name, tensor in call(given).items()}
        return Content(config=config, inputs={"x": x, "v": v}, weights=weights, outputs=outputs, call=call)

    return build


WIDE = [6, 8, 8, 12, 12, 12, 16, 20, 16, 16, 16, 12, 12]
NARROW = [4, 4, 4, 5, 6, 6, 7, 8, 8, 9, 8, 8, 7]
BATCH = {"input_nc": 3, "ndf": 4, "n_layers": 3, "kernel_size": 3, "norm": "batch", "strides": [[2, 2, 2], [2, 2, 2], [1, 2, 2], [1, 1, 1], [1, 1, 1]]}
INSTANCE = {"input_nc": 3, "ndf": 6, "n_layers": 2, "kernel_size": 4, "norm": "instance", "strides": [[2, 2, 2], [1, 2, 2], [1, 2, 2], [1, 1, 1]]}
PLAIN = {"input_nc": 3, "ndf": 5, "n_layers": 1, "kernel_size": 3, "norm": "none", "strides": [[1, 2, 2], [2, 2, 2], [1, 1, 1]]}

# 1e-10 is nothing in float16, and what has no features is then divided by zero: torch's own error there is no measure.
CASES = [
    Case(LPIPS, "gradients_2x24x20", differentiated(lpips(WIDE, (2, 24, 20)), half=False, steady=5e-6)),
    Case(LPIPS, "gradients_odd", differentiated(lpips(NARROW, (1, 19, 33), near=0.5), weights=["lin", "net.features.0", "net.features.28"], half=False, steady=5e-6)),
    Case(LPIPS, "3x16x16", lpips(NARROW, (3, 16, 16))),
    Case(DISCRIMINATOR, "gradients_batch", differentiated(discriminator(BATCH, (2, 3, 5, 18, 14)), pick=trained)),
    Case(DISCRIMINATOR, "gradients_running", differentiated(discriminator(BATCH, (1, 3, 4, 17, 16), train=False), pick=trained)),
    Case(DISCRIMINATOR, "gradients_instance", differentiated(discriminator(INSTANCE, (2, 3, 9, 31, 24)), pick=trained)),
    Case(DISCRIMINATOR, "gradients_none", differentiated(discriminator(PLAIN, (1, 3, 3, 9, 13)), pick=trained)),
    Case(TANGENT, "gradients_batch", differentiated(tangent(BATCH, (2, 3, 5, 18, 14)), half=False)),
    Case(TANGENT, "gradients_instance", differentiated(tangent(INSTANCE, (2, 3, 9, 31, 24)), half=False)),
    Case(TANGENT, "gradients_none", differentiated(tangent(PLAIN, (1, 3, 3, 9, 13)), half=False)),
]
