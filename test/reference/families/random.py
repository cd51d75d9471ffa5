"""torch.randn on the CPU: below 16 numbers it draws pairs in double precision, from 16 on it fills blocks of 16."""

import torch

from case import Case, Content

MODULE = "torch.randn"


def randn(seed: int, *shape: int):
    def build(case: Case) -> Content:
        sample = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return Content(options={"seed": seed, "shape": list(shape)}, outputs={"sample": sample})

    return build


CASES = [
    Case(MODULE, "n1", randn(0, 1)),
    Case(MODULE, "n15", randn(42, 15)),
    Case(MODULE, "n15_3d", randn(7, 3, 1, 5)),
    Case(MODULE, "n16", randn(0, 16)),
    Case(MODULE, "n17", randn(1234567, 17)),
    Case(MODULE, "n31", randn(2**31 + 11, 31)),
    Case(MODULE, "n1000", randn(2**32 - 1, 1000)),
    Case(MODULE, "n1000_seed_over_32_bits", randn(2**32 + 42, 1000)),
    Case(MODULE, "latents_5d", randn(2**53 - 1, 1, 3, 4, 6, 10)),
]
