"""The two schedulers, stepped with given model outputs.

`noise[i]` of a DPM case is the draw that step i used. The scheduler draws once on a first-order step (the first, and
any whose previous timestep is negative) and twice on a second-order step, where only the second draw is used.
"""

from unittest.mock import patch

import numpy as np
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler

from case import Case, Content
from draws import Draws
from record import recorded_draws

SHAPE = (1, 2, 1, 3, 5)

COGVIDEOX = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "set_alpha_to_one": True,
    "snr_shift_scale": 1.0,
    "steps_offset": 0,
    "timestep_spacing": "trailing",
}


def public_config(module) -> dict:
    return {name: value for name, value in module.config.items() if not name.startswith("_")}


def ieee_sqrt(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.sqrt(x.numpy()))


def created(kind: type, **changes):
    """The scheduler, with square roots as IEEE 754 rounds them.

    torch may take a float32 root from a library of its processor that is one unit in the last place off here and there.
    Of alphas near 1 that unit is a thousandth of 1 - alpha, which the last step divides by: the case would hold for one
    kind of machine. Schedules in float64 (scaled_linear, the published one) do not notice.
    """
    with patch.object(torch.Tensor, "sqrt", ieee_sqrt):
        return kind(**COGVIDEOX | changes)


def run(kind: type, steps: int, **changes):
    def build(case: Case) -> Content:
        draws = Draws(case.id)
        scheduler = created(kind, **changes)
        scheduler.set_timesteps(steps)
        timesteps = scheduler.timesteps
        first = draws.normal(*SHAPE)
        model_output = draws.normal(steps, *SHAPE)
        generator = torch.Generator().manual_seed(steps)

        sample, old, samples, used = first, None, [], []
        for i, timestep in enumerate(timesteps):
            if kind is CogVideoXDDIMScheduler:
                sample = scheduler.step(model_output[i], timestep, sample, return_dict=False)[0]
            else:
                with recorded_draws() as made:
                    back = timesteps[i - 1] if i > 0 else None
                    sample, old = scheduler.step(model_output[i], old, timestep, back, sample, generator=generator)
                used.append(made[-1].value)
            samples.append(sample)

        inputs = {"sample": first, "model_output": model_output}
        if used:
            inputs["noise"] = torch.stack(used)
        return Content(
            config=public_config(scheduler),
            options={"num_inference_steps": steps},
            inputs=inputs,
            outputs={"timesteps": timesteps.to(torch.int32), "sample": torch.stack(samples)},
        )

    return build


class Stride(int):
    """A number of steps that diffusers' step divides by to find the step before: the division gives this stride."""

    def __rfloordiv__(self, _: int) -> int:
        return int(self)


def run_at(kind: type, chosen: list[int], **changes):
    """Steps at timesteps of one's own, which the two classes take none of: their step() is told how far down each goes."""

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        scheduler = created(kind, **changes)
        first = draws.normal(*SHAPE)
        model_output = draws.normal(len(chosen), *SHAPE)
        generator = torch.Generator().manual_seed(len(chosen))

        sample, old, samples, used = first, None, [], []
        for i, timestep in enumerate(chosen):
            after = chosen[i + 1] if i + 1 < len(chosen) else -1
            scheduler.num_inference_steps = Stride(timestep - after)
            if kind is CogVideoXDDIMScheduler:
                sample = scheduler.step(model_output[i], timestep, sample, return_dict=False)[0]
            else:
                with recorded_draws() as made:
                    back = chosen[i - 1] if i > 0 else None
                    sample, old = scheduler.step(model_output[i], old, timestep, back, sample, generator=generator)
                used.append(made[-1].value)
            samples.append(sample)

        inputs = {"sample": first, "model_output": model_output}
        if used:
            inputs["noise"] = torch.stack(used)
        return Content(
            config=public_config(scheduler),
            options={"num_inference_steps": len(chosen), "timesteps": chosen},
            inputs=inputs,
            outputs={"timesteps": torch.tensor(chosen, dtype=torch.int32), "sample": torch.stack(samples)},
        )

    return build


def cases(kind: type) -> list[Case]:
    def case(name: str, steps: int, **changes) -> Case:
        return Case(kind.__name__, name, run(kind, steps, **changes))

    return [
        case("trailing_1", 1),
        case("trailing_2_snr3", 2, snr_shift_scale=3.0),
        case("trailing_6", 6),
        case("trailing_7_snr3", 7, snr_shift_scale=3.0),
        case("trailing_50", 50),
        case("trailing_50_snr3", 50, snr_shift_scale=3.0),
        case("trailing_6_no_zero_snr", 6, rescale_betas_zero_snr=False),
        case(
            "leading_7_offset",
            7,
            timestep_spacing="leading",
            steps_offset=1,
            set_alpha_to_one=False,
            rescale_betas_zero_snr=False,
        ),
        case("leading_2", 2, timestep_spacing="leading"),
        case("linspace_6_snr3", 6, timestep_spacing="linspace", snr_shift_scale=3.0),
        Case(kind.__name__, "at_999_856_665_399", run_at(kind, [999, 856, 665, 399], snr_shift_scale=3.0)),
        Case(kind.__name__, "at_900_500_499_20_0", run_at(kind, [900, 500, 499, 20, 0])),
    ]


CASES = cases(CogVideoXDDIMScheduler) + cases(CogVideoXDPMScheduler)
