"""Load what `train` saved in diffusers: python test/training/in_diffusers.py MODEL ADAPTER.safetensors

MODEL is a transformer's folder (config.json, diffusion_pytorch_model.safetensors). The adapter must change what the model
predicts by what its matrices, rank and alpha say, which is computed here from the file alone.
"""

import json
import sys
from types import SimpleNamespace

import torch
from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel
from diffusers.loaders import CogVideoXLoraLoaderMixin
from safetensors import safe_open


class Holder(CogVideoXLoraLoaderMixin):
    """A pipeline that is a transformer alone."""

    hf_device_map = None

    def __init__(self, transformer: CogVideoXTransformer3DModel):
        self.transformer = transformer
        self.components = {"transformer": transformer}
        self._component_names = ["transformer"]


def predict(model: CogVideoXTransformer3DModel) -> torch.Tensor:
    c = model.config
    draw = torch.Generator().manual_seed(0)
    frames, size = c.patch_size_t or 2, 2 * c.patch_size
    latents = torch.randn(1, frames, c.in_channels, size, size, generator=draw)
    text = torch.randn(1, c.max_text_seq_length, c.text_embed_dim, generator=draw)
    holder = SimpleNamespace(vae_scale_factor_spatial=8, transformer=model)
    rotary = None
    if c.use_rotary_positional_embeddings:
        rule = CogVideoXPipeline._prepare_rotary_positional_embeddings
        rotary = rule(holder, size * 8, size * 8, frames, torch.device("cpu"))
    more = {} if c.ofs_embed_dim is None else {"ofs": torch.full((1,), 2.0)}
    with torch.no_grad():
        return model(latents, text, torch.tensor([500]), image_rotary_emb=rotary, **more).sample


def merged(model: CogVideoXTransformer3DModel, path: str) -> CogVideoXTransformer3DModel:
    """The same weights with alpha / rank * B @ A added."""
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["lora_adapter_metadata"])
        factor = said["transformer.lora_alpha"] / said["transformer.r"]
        for key in file.keys():
            module, part = key.removeprefix("transformer.").rsplit(".lora_", 1)
            if part == "A.weight":
                change = file.get_tensor(key.replace("lora_A", "lora_B")) @ file.get_tensor(key)
                model.get_submodule(module).weight.data += factor * change
    return model


def main() -> None:
    folder, adapter = sys.argv[1:3]
    load = CogVideoXTransformer3DModel.from_pretrained
    holder = Holder(load(folder))
    without = predict(holder.transformer)
    holder.load_lora_weights(adapter)
    got, want = predict(holder.transformer), predict(merged(load(folder), adapter))
    error, change = (got - want).norm() / want.norm(), (want - without).norm() / without.norm()
    print(f"the adapter changes the prediction by {change:.3g}; diffusers' is {error:.2g} away from what the file says")
    if not (error < 1e-5 and change > 1e-4):
        sys.exit("the adapter does not work in diffusers as the file says")


if __name__ == "__main__":
    main()
