"""Training runs of the VAE: L1, LPIPS and KL, then a 3-D discriminator by the adaptive weight, two optimizers in turn.

As in training.py the run is computed in float64; `torch_f32` and `zero_gradient` are told likewise. `torch_f16`: how far a step's losses are
off where torch stores activations and kernels in float16.
"""

import copy
from dataclasses import dataclass, field
from functools import partial

import torch
from diffusers import AutoencoderKLCogVideoX
from torch import nn

from case import Case, Content
from draws import Draws
from families.losses import BATCH, INSTANCE, NARROW, Lpips, NLayerDiscriminator3D, drawn_lpips
from families.scheduler import public_config
from families.vae import tiny
from gradients import Tensors, relative

MODULE = "train.AutoencoderKLCogVideoX"
HALF_SCALE = 2.0**12  # of the loss, as the engine begins with at these sizes
OPTIMIZER = {"name": "adamw", "lr": 1e-3, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 1e-2}


@dataclass
class Recipe:
    config: dict
    shape: tuple[int, int, int, int]  # of the clips, [B, T, H, W]
    steps: int
    weights: dict
    disc_start: int | None = None
    discriminator: dict = field(default_factory=dict)
    adaptive: dict = field(default_factory=lambda: {"clamp": 1e4, "eps": 1e-4})
    lpips: list[int] = field(default_factory=list)
    lpips_bias: float = 0.0  # is added to every bias of LPIPS's convolutions
    clips: int | None = None  # steps with clips of their own, which come again in turn; all of them unless told
    optimizer: dict = field(default_factory=dict)
    discriminator_optimizer: dict = field(default_factory=dict)
    penalty: dict = field(default_factory=dict)  # of the discriminator's gradient: kind, weight, every


@dataclass
class Result:
    losses: dict[str, list[float]]
    after: Tensors
    start: Tensors
    negligible: set[str]


def adamw(parameters, settings: dict) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters,
        lr=settings["lr"],
        betas=tuple(settings["betas"]),
        eps=settings["eps"],
        weight_decay=settings["weight_decay"],
        foreach=False,
    )


def penalty(given: dict, disc: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What the gradient of the scores' sum with respect to the clips costs; it moves running statistics too, which nothing reads here."""
    at = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(disc(at).sum(), at, create_graph=True)
    lengths = gradient.flatten(1)
    if given["kind"] == "r1":
        return 0.5 * given["weight"] * lengths.square().sum(1).mean()
    return given["weight"] * (lengths.norm(dim=1) - 1).square().mean()


class Stored(torch.autograd.Function):
    """What is left of a tensor, and of its gradient, when they are stored in float16."""

    @staticmethod
    def forward(_, x: torch.Tensor) -> torch.Tensor:
        return x.half().to(x.dtype)

    @staticmethod
    def backward(_, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.half().to(gradient.dtype)


def store_float16(model: nn.Module) -> None:
    """Kernels of convolutions are read, and what layers give is kept, as float16 holds them; all is computed, and updated, as before."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv3d):
            layer._conv_forward = partial(lambda conv, x, w, bias: conv(x, Stored.apply(w), bias), layer._conv_forward)
        if not list(layer.children()):
            layer.register_forward_hook(lambda *of: Stored.apply(of[-1]))


def run(recipe: Recipe, models: tuple[nn.Module, Lpips, nn.Module | None], inputs: Tensors, kind: torch.dtype, scale: float | None = None) -> Result:
    """`scale`: of the loss, where activations of VAE and discriminator are stored in float16."""
    vae, lpips, disc = (nn.Module.to(copy.deepcopy(model), kind) if model is not None else None for model in models)
    if scale is not None:
        for model in filter(None, (vae, disc)):
            store_float16(model)
    scale = scale or 1.0
    lpips.eval().requires_grad_(False)
    own = {f"weight.vae.{name}": p.requires_grad_(True) for name, p in vae.named_parameters()}
    theirs = {f"weight.discriminator.{name}": p.requires_grad_(True) for name, p in disc.named_parameters()} if disc else {}
    start = {name: p.detach().clone() for name, p in (own | theirs).items()}
    optimizer = adamw(own.values(), OPTIMIZER | recipe.optimizer)
    other = adamw(theirs.values(), OPTIMIZER | recipe.discriminator_optimizer) if disc else None
    if disc:
        disc.train()
    weights, last = recipe.weights, vae.decoder.conv_out.conv.weight
    losses: dict[str, list[float]] = {"loss": [], "rec": [], "kl": []}
    counted: set[str] = set()

    def count(trained: dict[str, nn.Parameter]) -> None:
        sizes = {name: p.grad.norm().item() for name, p in trained.items() if p.grad is not None}
        counted.update(name for name, size in sizes.items() if size >= 1e-6 * max(sizes.values()))

    def take(optimizer: torch.optim.Optimizer, loss: torch.Tensor, trained: dict[str, nn.Parameter]) -> None:
        optimizer.zero_grad()
        (scale * loss).backward()
        for p in trained.values():
            if p.grad is not None:
                p.grad /= scale
        count(trained)
        optimizer.step()

    for step in range(recipe.steps):
        x, noise = inputs["x"][step % len(inputs["x"])].to(kind), inputs["posterior_noise"][step].to(kind)
        posterior = vae.encode(x).latent_dist
        made = vae.decode(posterior.mean + posterior.std * noise).sample
        rec = weights["l1"] * (made - x).abs().mean()
        if weights["perceptual"]:
            frames = [clip.transpose(1, 2).flatten(0, 1) for clip in (made, x)]
            rec = rec + weights["perceptual"] * lpips(*frames).mean()
        kl = weights["kl"] * 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        loss = rec + kl
        judged = disc is not None and step >= recipe.disc_start
        if judged:
            score = disc(made).mean()
            of_rec, of_score = (torch.autograd.grad(scale * of, last, retain_graph=True)[0].norm() / scale for of in (rec, score))
            factor = (of_rec / (of_score + recipe.adaptive["eps"])).clamp(0, recipe.adaptive["clamp"]).detach()
            generator = -weights["disc"] * factor * score
            loss = loss + generator
        take(optimizer, loss, own)
        if judged:
            fake = made.detach()
            said = 0.5 * ((1 - disc(x)).relu().mean() + (1 + disc(fake)).relu().mean())
            every = recipe.penalty.get("every", 1)
            penalised = recipe.penalty and (step - recipe.disc_start) % every == 0
            cost = every * penalty(recipe.penalty, disc, x) if penalised else torch.zeros([])
            take(other, said + cost, theirs)
        for name, value in {"loss": loss, "rec": rec, "kl": kl}.items():
            losses[name].append(value.item())
        if disc:
            losses.setdefault("generator", []).append(generator.item() if judged else 0.0)
            losses.setdefault("discriminator", []).append(said.item() if judged else 0.0)
            if recipe.penalty:
                losses.setdefault("penalty", []).append(cost.item() if judged else 0.0)
    after = {name: p.detach() for name, p in (own | theirs).items()}
    return Result(losses, after, start, (own | theirs).keys() - counted)


def worst(got: list[float], want: list[float]) -> float:
    """The largest relative error of a step."""
    return float(f"{max(abs(a - b) / abs(b) if b else abs(a) for a, b in zip(got, want, strict=True)):.3g}")


def train(recipe: Recipe):
    def build(case: Case) -> Content:
        draws = Draws(case.id)
        vae = draws.fill(AutoencoderKLCogVideoX(**recipe.config))
        lpips = drawn_lpips(draws, recipe.lpips or NARROW)
        for layer in lpips.net.features:
            if isinstance(layer, nn.Conv2d):
                layer.bias.add_(recipe.lpips_bias)
        disc = draws.fill(NLayerDiscriminator3D(**recipe.discriminator)) if recipe.discriminator else None
        if disc:  # a mean of scores near zero would say little of them
            disc.main[-1].bias.fill_(0.7)
        batch, frames, height, width = recipe.shape
        latents = (vae.config.latent_channels, (frames - 1) // 4 + 1, height // 8, width // 8)
        inputs = {
            "x": draws.pixels(recipe.clips or recipe.steps, batch, 3, frames, height, width),
            "posterior_noise": draws.normal(recipe.steps, batch, *latents),
        }
        models = (vae, lpips, disc)
        with torch.enable_grad():
            exact, rough = (run(recipe, models, inputs, kind) for kind in (torch.float64, torch.float32))
            half = run(recipe, models, inputs, torch.float32, HALF_SCALE)
        errors = {}
        for name, start in exact.start.items():
            change = exact.after[name] - start
            if (size := change.norm().item()) > 0:
                errors[name.removeprefix("weight.")] = relative(rough.after[name].double() - start, change, size)
        options = {
            "weights": recipe.weights,
            "optimizer": OPTIMIZER | recipe.optimizer,
            "torch_f32": errors,
            "torch_f16": {name: worst(half.losses[name], values) for name, values in exact.losses.items()},
            "zero_gradient": sorted(name.removeprefix("weight.") for name in exact.negligible),
        }
        config: dict = {"vae": public_config(vae)}
        tensors = {f"vae.{name}": tensor for name, tensor in vae.state_dict().items()}
        if recipe.weights["perceptual"]:
            tensors |= {f"lpips.{name}": tensor for name, tensor in lpips.state_dict().items()}
        if disc:
            options |= {
                "disc_start": recipe.disc_start,
                "adaptive": recipe.adaptive,
                "discriminator_optimizer": OPTIMIZER | recipe.discriminator_optimizer,
            }
            if recipe.penalty:
                options["penalty"] = recipe.penalty
            config["discriminator"] = recipe.discriminator
            tensors |= {f"discriminator.{name}": tensor for name, tensor in disc.state_dict().items()}
        return Content(
            config=config,
            options=options,
            inputs=inputs,
            weights=tensors,
            outputs={name: torch.tensor(values) for name, values in exact.losses.items()} | {name: t.float() for name, t in exact.after.items()},
        )

    return build


SMALL = tiny([4, 4, 8, 8], groups=2, latent=2)

# LPIPS divides features by their length: where all of them are 0 it jumps, and so does the loss. Sixteen positive ones at the finest layer,
# as VGG16's sixty-four, are never all 0 (README.md, Training of the VAE).
SMOOTH = {"lpips": [16, 16, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8], "lpips_bias": 1.0}

CASES = [
    Case(MODULE, "l1_kl", train(Recipe(SMALL, (2, 9, 16, 16), 4, {"l1": 1.0, "perceptual": 0.0, "kl": 1e-2, "disc": 0.0}))),
    Case(
        MODULE,
        "lpips",
        train(Recipe(SMALL, (1, 9, 16, 24), 5, {"l1": 1.0, "perceptual": 0.5, "kl": 1e-3, "disc": 0.0}, optimizer={"lr": 3e-4})),
    ),
    Case(
        MODULE,
        "gan_batch",
        train(
            Recipe(
                SMALL,
                (1, 9, 24, 16),
                4,
                {"l1": 1.0, "perceptual": 0.1, "kl": 1e-3, "disc": 0.5},
                disc_start=2,
                discriminator=BATCH,
                optimizer={"lr": 3e-4},
                discriminator_optimizer={"lr": 3e-4, "betas": [0.5, 0.9], "weight_decay": 0.0},
            )
        ),
    ),
    Case(
        MODULE,
        "gan_40",
        train(
            Recipe(
                SMALL,
                (1, 9, 16, 16),
                40,
                {"l1": 1.0, "perceptual": 0.1, "kl": 1e-3, "disc": 0.5},
                disc_start=20,
                discriminator=BATCH,
                optimizer={"lr": 3e-4},
                # Slow enough that the mean of scores does not pass 0, beside which nothing is relative.
                discriminator_optimizer={"lr": 1e-4, "betas": [0.5, 0.9], "weight_decay": 0.0},
                clips=4,
                **SMOOTH,
            )
        ),
    ),
    Case(
        MODULE,
        "gan_r1",
        train(
            Recipe(
                SMALL,
                (2, 9, 24, 16),
                3,
                {"l1": 1.0, "perceptual": 0.0, "kl": 1e-3, "disc": 0.5},
                disc_start=0,
                discriminator=BATCH,
                optimizer={"lr": 3e-4},
                discriminator_optimizer={"lr": 3e-4, "betas": [0.5, 0.9], "weight_decay": 0.0},
                penalty={"kind": "r1", "weight": 0.5, "every": 2},
            )
        ),
    ),
    Case(
        MODULE,
        "gan_unit",
        train(
            Recipe(
                SMALL,
                (2, 9, 24, 16),
                2,
                {"l1": 1.0, "perceptual": 0.0, "kl": 1e-3, "disc": 0.5},
                disc_start=0,
                discriminator=INSTANCE | {"kernel_size": 3},
                optimizer={"lr": 3e-4},
                discriminator_optimizer={"lr": 3e-4, "betas": [0.5, 0.9], "weight_decay": 0.0},
                penalty={"kind": "unit", "weight": 0.3},
            )
        ),
    ),
]
