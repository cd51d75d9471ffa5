"""The shot-boundary detector of the package transnetv2-pytorch, narrow and with weights that are drawn."""

import torch
from torch import nn
from transnetv2_pytorch import TransNetV2

from case import Case, Content
from draws import Draws


class Untrained(TransNetV2):
    """The package's own weights fit its own widths alone."""

    def _load_pretrained_weights(self) -> None:
        for module in self.modules():  # nothing reads how many batches there were
            if isinstance(module, nn.BatchNorm3d):
                del module.num_batches_tracked
                module.num_batches_tracked = None


def shots(config: dict, frames: int):
    """Two shots of drawn pixels: each frame is its shot's picture and some noise."""

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        model = draws.fill(Untrained(device="cpu", **config))
        pictures = draws.integers(0, 225, 2, 27, 48, 3)
        inputs = torch.stack([pictures[2 * t // frames] + draws.integers(0, 30, 27, 48, 3) for t in range(frames)])
        inputs = inputs.to(torch.uint8)[None]
        one_hot, more = model(inputs)
        return Content(config=config, inputs={"inputs": inputs}, weights=model.state_dict(), outputs={"one_hot": one_hot, **more})

    return build


CASES = [
    # More frames than half of the window that they are compared in.
    Case("TransNetV2", "f1_s2", shots({"F": 1, "L": 3, "S": 2, "D": 10}, frames=55)),
]
