"""Training runs of the transformer: AdamW over all parameters or an adapter's factors, with what comes before and after an update.

The run is computed in float64; the option `torch_f32` tells by tensor how far torch's own float32 is from that in what the tensor became less
what it was, and `zero_gradient` names the tensors whose gradient is nothing but rounding: Adam makes whole steps of it.
"""

import copy
from dataclasses import dataclass, field

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed

from case import Case, Content
from draws import Draws
from families.scheduler import created, ieee_sqrt, public_config
from families.transformer import IMAGE_PATCH_T, LEARNED, PATCH_T, ROTARY, SINCOS, Adapter, beside, rotary_tables, tiny
from gradients import Tensors, relative

OPTIMIZER = {"name": "adamw", "lr": 1e-3, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 1e-2}
MODULE = "train.CogVideoXTransformer3DModel"


@dataclass
class Lora:
    rank: int
    alpha: float
    target_modules: list[str]
    zero: bool = True  # B is zero at the start, as PEFT makes it

    def adapter(self, model: CogVideoXTransformer3DModel) -> Adapter:
        names = [name for name, module in model.named_modules() if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))]
        layers = [name for name in names if any(name == target or name.endswith(f".{target}") for target in self.target_modules)]
        return Adapter(scale=1.0, rank=self.rank, layers=tuple(layers), alpha=self.alpha)

    def draw(self, draws: Draws, model: CogVideoXTransformer3DModel) -> Tensors:
        tensors = self.adapter(model).draw(draws, model)
        kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(".alpha")}
        return {name: torch.zeros_like(tensor) if self.zero and ".lora_B." in name else tensor for name, tensor in kept.items()}


@dataclass
class Recipe:
    config: dict
    shape: tuple[int, int, int, int]  # of the latents, [F, C, H, W]
    text: int
    steps: int
    clips: int = 1
    accumulation: int = 1
    lora: Lora | None = None
    ema: float | None = None
    max_grad_norm: float = 1.0
    warmup_steps: int = 0
    optimizer: dict = field(default_factory=dict)
    scheduler: dict = field(default_factory=dict)
    ofs: float | None = None
    pack: list[tuple[int, int, int, int]] = field(default_factory=list)  # clips of one sequence in place of `shape`: F, H, W, text tokens

    def options(self, scheduler: CogVideoXDDIMScheduler) -> dict:
        options = {
            "optimizer": OPTIMIZER | self.optimizer,
            "max_grad_norm": self.max_grad_norm,
            "accumulation": self.accumulation,
            "scheduler": public_config(scheduler),
        }
        if self.warmup_steps:
            options["schedule"] = {"name": "constant_with_warmup", "warmup_steps": self.warmup_steps}
        if self.lora:
            options["lora"] = {"rank": self.lora.rank, "alpha": self.lora.alpha, "target_modules": self.lora.target_modules}
        if self.ema is not None:
            options["ema"] = {"decay": self.ema}
        if self.pack:
            options |= {"clips": len(self.pack), "rope": "prefix"}
        return options


@dataclass
class Result:
    outputs: Tensors
    start: Tensors  # what trained tensors and their averages were, by output
    negligible: set[str]  # trained tensors whose gradient never counted


def run(
    recipe: Recipe,
    model: CogVideoXTransformer3DModel,
    factors: Tensors,
    inputs: Tensors,
    alphas: torch.Tensor,
    kind: torch.dtype,
    noise: float = 0.0,
) -> Result:
    """`noise`: gradients are off by so much of their root mean square, up or down by chance."""
    chance = torch.Generator().manual_seed(0)
    own = torch.nn.Module.to(copy.deepcopy(model), kind)
    frames, channels, height, width = recipe.shape
    lora = recipe.lora.adapter(own) if recipe.lora else None
    if lora:
        trained = {f"lora.0.{name}": tensor.to(kind).clone().requires_grad_(True) for name, tensor in factors.items()}
    else:
        trained = {f"weight.{name}": parameter.requires_grad_(True) for name, parameter in own.named_parameters()}
    names = {name: f"ema.{name.removeprefix('weight.')}" for name in trained} if recipe.ema is not None else {}
    averages = {names[name]: tensor.detach().clone() for name, tensor in trained.items() if name in names}
    start = {name: tensor.detach().clone() for name, tensor in (trained | averages).items()}

    signal, sigma = ieee_sqrt(alphas), ieee_sqrt(1 - alphas)
    settings = OPTIMIZER | recipe.optimizer
    optimizer = torch.optim.AdamW(
        trained.values(),
        lr=settings["lr"],
        betas=tuple(settings["betas"]),
        eps=settings["eps"],
        weight_decay=settings["weight_decay"],
        foreach=False,
    )
    losses, norms, counted = [], [], set()
    with beside(own, [lora] if lora else [], trained):
        for step in range(recipe.steps):
            optimizer.zero_grad(set_to_none=False)
            total = 0.0
            for micro in range(recipe.accumulation):
                given = {name: tensor[step, micro] for name, tensor in inputs.items() if name != "ofs"}
                if recipe.pack:  # a mean over clips of each clip's mean
                    parts = [packed_clip(given, i) for i in range(len(recipe.pack))]
                else:
                    parts = [given]
                loss = sum(clip_loss(own, part, inputs.get("ofs"), (signal, sigma), bool(recipe.pack), kind) for part in parts) / len(parts)
                (loss / recipe.accumulation).backward()
                total += loss.item() / recipe.accumulation
            for tensor in trained.values() if noise else ():
                off = torch.randint(0, 2, tensor.shape, generator=chance).to(kind) * 2 - 1
                tensor.grad += noise * tensor.grad.square().mean().sqrt() * off
            sizes = {name: tensor.grad.norm().item() for name, tensor in trained.items()}
            counted |= {name for name, size in sizes.items() if size >= 1e-6 * max(sizes.values())}
            norm = torch.nn.utils.clip_grad_norm_(trained.values(), recipe.max_grad_norm, foreach=False)
            for parameters in optimizer.param_groups:
                parameters["lr"] = settings["lr"] * (min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0)
            optimizer.step()
            with torch.no_grad():
                decay = min(recipe.ema, (1 + step) / (10 + step)) if recipe.ema is not None else 0.0
                for name, average in names.items():
                    averages[average].mul_(decay).add_(trained[name], alpha=1 - decay)
            losses.append(total)
            norms.append(norm.item())
    after = {name: tensor.detach() for name, tensor in (trained | averages).items()}
    outputs = {"loss": torch.tensor(losses, dtype=torch.float64), "grad_norm": torch.tensor(norms, dtype=torch.float64)} | after
    return Result(outputs, start, trained.keys() - counted)


def packed_clip(given: Tensors, i: int) -> Tensors:
    names = {"latents": "latents", "noise": "noise", "timestep": "timesteps", "text": "text"}
    return {ours: given[f"clip.{i}.{name}"][None] for name, ours in names.items()}


def prefix_tables(model: CogVideoXTransformer3DModel, frames: int, height: int, width: int):
    """Rotary tables from the table's start: counted by frame, row and column."""
    if not model.config.use_rotary_positional_embeddings:
        return None
    p, size = model.config.patch_size, frames // (model.config.patch_size_t or 1)
    grid = (height // p, width // p)
    return get_3d_rotary_pos_embed(
        model.config.attention_head_dim, None, grid, size, grid_type="slice", max_size=grid, device=torch.device("cpu")
    )


def clip_loss(model, given: Tensors, ofs: torch.Tensor | None, levels: tuple[torch.Tensor, torch.Tensor], prefix: bool, kind: torch.dtype):
    """The mean of (v̂ - v)² over a clip, then over clips."""
    latents, noise, t = given["latents"].to(kind), given["noise"].to(kind), given["timesteps"].long()
    frames, height, width = latents.shape[1], *latents.shape[3:]
    a, s = (level[t].to(kind).view(-1, 1, 1, 1, 1) for level in levels)
    noisy = a * latents + s * noise
    if "condition" in given:
        noisy = torch.cat([noisy, given["condition"].to(kind)], dim=2)
    predicted = model(
        hidden_states=noisy,
        encoder_hidden_states=given["text"].to(kind),
        timestep=t,
        ofs=ofs,
        image_rotary_emb=(prefix_tables if prefix else rotary_tables)(model, frames, height, width),
    ).sample
    return (predicted - (a * noise - s * latents)).square().flatten(1).mean(1).mean()


def train(recipe: Recipe, steady: tuple[float, float] | None = None):
    """
    `steady`: (noise, limit). Tensors that change by more than the limit when gradients have such noise are left out: Adam makes a whole step of
    a gradient that is nearly zero, so that one value of thousands, whose sum nearly cancels out, decides over the tensor.
    """

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        model = draws.fill(CogVideoXTransformer3DModel(**recipe.config))
        factors = recipe.lora.draw(draws, model) if recipe.lora else {}
        frames, channels, height, width = recipe.shape
        batch = (recipe.steps, recipe.accumulation, recipe.clips)
        inputs = {}
        for i, (f, h, w, words) in enumerate(recipe.pack):
            own = (recipe.steps, recipe.accumulation)
            inputs |= {
                f"clip.{i}.latents": draws.normal(*own, f, channels, h, w),
                f"clip.{i}.noise": draws.normal(*own, f, channels, h, w),
                f"clip.{i}.timestep": draws.integers(0, 1000, *own),
                f"clip.{i}.text": draws.normal(*own, words, model.config.text_embed_dim, scale=0.5),
            }
        inputs = inputs or {
            "latents": draws.normal(*batch, *recipe.shape),
            "noise": draws.normal(*batch, *recipe.shape),
            "timesteps": draws.integers(0, 1000, *batch),
            "text": draws.normal(*batch, recipe.text, model.config.text_embed_dim, scale=0.5),
        }
        if model.config.in_channels > channels and not recipe.pack:
            inputs["condition"] = draws.normal(*batch, frames, model.config.in_channels - channels, height, width)
        if recipe.ofs is not None:
            inputs["ofs"] = torch.full((recipe.clips,), recipe.ofs)
        scheduler = created(CogVideoXDDIMScheduler, **recipe.scheduler)
        options = recipe.options(scheduler)
        with torch.enable_grad():
            kinds = (torch.float64, torch.float32)
            exact, rough = (run(recipe, model, factors, inputs, scheduler.alphas_cumprod.float(), kind) for kind in kinds)
        errors = {}
        for name, start in exact.start.items():
            change = exact.outputs[name] - start
            if (size := change.norm().item()) > 0:
                errors[name.removeprefix("weight.")] = relative(rough.outputs[name].double() - start, change, size)
        if steady:
            noise, limit = steady
            with torch.enable_grad():
                swayed = run(recipe, model, factors, inputs, scheduler.alphas_cumprod.float(), torch.float64, noise)
            for name, start in exact.start.items():
                if (swayed.outputs[name] - exact.outputs[name]).norm() > limit * (exact.outputs[name] - start).norm():
                    del exact.outputs[name]
        options |= {"torch_f32": errors, "zero_gradient": sorted(name.removeprefix("weight.") for name in exact.negligible)}
        return Content(
            config=public_config(model),
            options=options,
            inputs=inputs,
            weights=model.state_dict(),
            lora={f"0.{name}": tensor for name, tensor in factors.items()},
            outputs={name: tensor.float() for name, tensor in exact.outputs.items()},
        )

    return build


ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
SMALL = {"text_embed_dim": 8, "time_embed_dim": 8}
SNR3 = {"snr_shift_scale": 3.0}
# Weights and biases whose number of values 4 does not divide.
ODD = SINCOS | {"in_channels": 3, "out_channels": 3, "patch_size": 1, "time_embed_dim": 7, "text_embed_dim": 9}

CASES = [
    Case(MODULE, "full_100", train(Recipe(tiny(1, 16, 1, **SINCOS | SMALL), (2, 4, 4, 6), 7, 100, warmup_steps=10, scheduler=SNR3))),
    Case(
        MODULE,
        "lora_100",
        train(Recipe(tiny(2, 16, 1, **ROTARY | SMALL), (1, 4, 6, 4), 5, 100, lora=Lora(4, 2.0, ATTENTION), ema=0.99, warmup_steps=5)),
    ),
    Case(
        MODULE,
        "full_accumulated",
        train(
            Recipe(
                tiny(1, 16, 2, **PATCH_T | SMALL),
                (4, 4, 6, 10),
                4,
                6,
                clips=2,
                accumulation=2,
                ema=0.9999,
                max_grad_norm=0.1,
                optimizer={"lr": 3e-4, "betas": [0.9, 0.999], "weight_decay": 0.1},
            )
        ),
    ),
    Case(
        MODULE,
        "full_i2v",
        train(Recipe(tiny(1, 16, 1, **LEARNED | SMALL), (3, 4, 6, 10), 7, 5, max_grad_norm=100.0, optimizer={"weight_decay": 0.0})),
    ),
    Case(
        MODULE,
        "lora_condition_ofs",
        train(
            Recipe(
                tiny(1, 32, 1, **IMAGE_PATCH_T | {"ofs_embed_dim": 12, "text_embed_dim": 9}),
                (4, 4, 4, 6),
                6,
                12,
                clips=2,
                accumulation=2,
                lora=Lora(3, 6.0, ["to_q", "attn1.to_v", "ff.net.0.proj", "net.2", "proj_out", "norm1.linear"], zero=False),
                ofs=2.0,
            )
        ),
    ),
    Case(
        MODULE,
        "lora_convolution",
        train(
            Recipe(
                tiny(1, 16, 1, **SINCOS | SMALL),
                (2, 4, 4, 4),
                7,
                10,
                lora=Lora(1, 1.0, ["proj", "text_proj", "linear_1"], zero=False),
                ema=0.5,
                scheduler={"rescale_betas_zero_snr": False},
            )
        ),
    ),
    Case(MODULE, "full_odd", train(Recipe(tiny(1, 16, 1, **ODD), (2, 3, 3, 5), 7, 20, clips=2, accumulation=2, ema=0.9))),
    Case(
        MODULE,
        "lora_odd",  # of a rank above a side of most targets
        train(
            Recipe(
                tiny(1, 16, 1, **ODD),
                (2, 3, 3, 3),
                7,
                20,
                lora=Lora(11, 5.0, ["proj", "text_proj", "linear_1", "to_k", "proj_out"], zero=False),
            )
        ),
    ),
    Case(
        MODULE,
        "full_packed",
        train(
            Recipe(
                tiny(2, 16, 1, **ROTARY | SMALL), (1, 4, 4, 4), 0, 8, accumulation=2, pack=[(3, 4, 6, 5), (1, 8, 4, 3), (2, 4, 4, 6)], ema=0.99
            )
        ),
    ),
    Case(
        MODULE,
        "lora_packed",
        train(
            Recipe(tiny(1, 16, 1, **SINCOS | SMALL), (1, 4, 4, 4), 0, 8, pack=[(2, 4, 8, 7), (1, 6, 6, 7)], lora=Lora(4, 8.0, ATTENTION, zero=False))
        ),
    ),
]
