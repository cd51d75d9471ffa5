"""Write the checkpoint in the folder layout that diffusers loads, weights in f16."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import CogVideoXPipeline
from transformers import T5Tokenizer

import common
import shapes
import text
import transformer
import vae as autoencoder

GENERATION = {
    "height": shapes.SIZE,
    "width": shapes.SIZE,
    "num_frames": shapes.FRAMES,
    "fps": 8,
    "num_inference_steps": 20,
    "guidance_scale": 1.5,
    "scheduler": "ddim",
    "max_sequence_length": text.LENGTH,
    "vocabulary": shapes.vocabulary(),
}


def export(work: Path, folder: Path) -> int:
    """Gives the step of the transformer that was written."""
    state = common.load(work / "transformer.pt")
    model = transformer.create()
    model.load_state_dict({**state["model"], **state["average"]})
    vae = autoencoder.averaged(work)
    vae.register_to_config(scaling_factor=round(state["scaling_factor"], 6))
    encoder = text.create()
    encoder.load_state_dict(common.load(work / "text.pt")["model"])
    pipeline = CogVideoXPipeline(
        tokenizer=T5Tokenizer.from_pretrained(work / "tokenizer"),
        text_encoder=encoder,
        vae=vae,
        transformer=model,
        scheduler=transformer.create_scheduler(),
    )
    pipeline.to(torch.float16)
    pipeline.save_pretrained(folder)
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(work / "tokenizer", folder / "tokenizer")
    (folder / "generation.json").write_text(json.dumps(GENERATION, indent=2) + "\n")
    shapes.write_lists(folder)
    return state["step"]


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint's folder")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    step = export(args.work, args.out)
    size = sum(f.stat().st_size for f in args.out.rglob("*.safetensors"))
    print(f"wrote step {step}, {size / 1e6:.1f} MB of weights")


if __name__ == "__main__":
    main()
