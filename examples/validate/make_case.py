"""A reference case from a checkpoint's VAE: make_case.py MODEL OUT   (needs torch, diffusers, safetensors)"""
import json
import sys

import diffusers
import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors.torch import save_file

model, out = sys.argv[1:3]
vae = AutoencoderKLCogVideoX.from_pretrained(model, subfolder="vae", torch_dtype=torch.float32).eval()
z = torch.randn(1, vae.config.latent_channels, 3, 4, 4, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    sample = vae.decode(z).sample

tensors = {"input.z": z, "output.sample": sample}
tensors |= {f"weight.{name}": value for name, value in vae.state_dict().items() if name.startswith("decoder.")}
save_file({name: value.contiguous() for name, value in tensors.items()}, out, metadata={
    "format": "reference-case/1",
    "module": "AutoencoderKLCogVideoX.decode",
    "config": json.dumps({key: value for key, value in vae.config.items() if not key.startswith("_")}),
    "options": "{}",
    "source": f"diffusers {diffusers.__version__}, torch {torch.__version__}, cpu float32",
})
