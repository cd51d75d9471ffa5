"""Generate the held-out prompts with diffusers' own pipeline and score them by the image measure."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import CogVideoXDPMScheduler, CogVideoXPipeline

import measure
import vae as autoencoder


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--steps", type=int, help="default: generation.json's")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--scheduler", choices=("ddim", "dpm"))
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", help="this prompt instead of the list; needs --save")
    parser.add_argument("--save", type=Path, help="write a contact sheet (PNG) of the clips")
    parser.add_argument("--reconstruct", action="store_true", help="only the autoencoder's PSNR on unseen clips")
    parser.add_argument("--label", default="", help="text put before the scores")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    defaults = json.loads((args.model / "generation.json").read_text())
    steps = args.steps or defaults["num_inference_steps"]
    guidance = args.guidance or defaults["guidance_scale"]
    scheduler = args.scheduler or defaults["scheduler"]

    pipeline = CogVideoXPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    if args.reconstruct:
        print(f"{args.label} reconstruction PSNR on 48 unseen clips: {autoencoder.evaluate(pipeline.vae, 48):.2f} dB")
        return
    if scheduler == "dpm":
        pipeline.scheduler = CogVideoXDPMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    prompts = json.loads((args.model / "evaluation-prompts.json").read_text())
    prompts = prompts[:: max(1, len(prompts) // args.count)][: args.count]
    if args.prompt:
        prompts = [{"prompt": args.prompt, "seed": i} for i in range(4)]

    began, clips = time.time(), []
    for i in range(0, len(prompts), args.batch):
        part = prompts[i : i + args.batch]
        frames = pipeline(
            prompt=[p["prompt"] for p in part],
            height=defaults["height"],
            width=defaults["width"],
            num_frames=defaults["num_frames"],
            num_inference_steps=steps,
            guidance_scale=guidance,
            max_sequence_length=defaults["max_sequence_length"],
            generator=[torch.Generator().manual_seed(p["seed"]) for p in part],
            output_type="np",
        ).frames
        clips += list(frames * 255)
    if not args.prompt:
        scores = measure.score(clips, prompts)
        text = " ".join(f"{name} {value:.1f}%" for name, value in scores.items())
        print(f"{args.label} {len(clips)} prompts, {scheduler} {steps} steps, guidance {guidance}: {text} ({time.time() - began:.0f}s)")
    if args.save:
        from PIL import Image

        rows = [np.concatenate(list(clip[::4]), axis=1) for clip in clips]
        half = (len(rows) + 1) // 2
        columns = [np.concatenate(part, axis=0) for part in (rows[:half], rows[half:]) if part]
        columns = [np.pad(c, ((0, half * clips[0].shape[1] - c.shape[0]), (0, 8), (0, 0))) for c in columns]
        Image.fromarray(np.concatenate(columns, axis=1).round().astype(np.uint8)).save(args.save)


if __name__ == "__main__":
    main()
