"""Train the causal video autoencoder (diffusers' AutoencoderKLCogVideoX).

Pictures first, then many small crops of clips, then whole clips. Diffusers encodes 17 frames in batches
of 9 and 8 and decodes latents in batches of 3 and 2; the group norms' statistics are per batch, so
training goes through the very same calls. The posterior's spread is a constant (NOISE), and a weak
penalty on the latents' squares keeps their scale near one (scaling_factor is measured at export).
"""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLCogVideoX

import common
import shapes

NOISE = 0.1
LATENT_CHANNELS = 8


def create() -> AutoencoderKLCogVideoX:
    vae = AutoencoderKLCogVideoX(
        block_out_channels=[16, 32, 64, 64],
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        down_block_types=["CogVideoXDownBlock3D"] * 4,
        up_block_types=["CogVideoXUpBlock3D"] * 4,
        sample_height=shapes.SIZE,
        sample_width=shapes.SIZE,
        scaling_factor=1.0,
    )
    with torch.no_grad():  # the log-variance half of the last convolution is a constant
        conv = vae.encoder.conv_out.conv
        conv.weight[LATENT_CHANNELS:] = 0
        conv.bias[LATENT_CHANNELS:] = 2 * math.log(NOISE)
    return vae


def batch_of(combinations, count: int, frames: int, rng: random.Random) -> torch.Tensor:
    return torch.stack([shapes.render(rng.choice(combinations), rng, frames) for _ in range(count)])


def crops_of(clips: torch.Tensor, size: int, rng: random.Random) -> torch.Tensor:
    def crop(clip):
        y, x = (rng.randrange(shapes.SIZE - size + 1) for _ in range(2))
        return clip[..., y : y + size, x : x + size]

    return torch.stack([crop(clip) for clip in clips])


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Per clip, over pixel values in [0, 1]; both clips in [-1, 1]."""
    error = ((a.clamp(-1, 1) - b.clamp(-1, 1)) / 2).pow(2).flatten(1).mean(1)
    return -10 * error.log10()


@torch.no_grad()
def evaluate(vae, count: int = 24, noisy: bool = False) -> float:
    """Mean PSNR on clips of held-out combinations, in bf16 as in training."""
    rng = random.Random(99)
    held_out = shapes.held_out_combinations()
    values = []
    for _ in range(count // 4):
        clips = batch_of(held_out, 4, shapes.FRAMES, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latents = vae.encode(clips).latent_dist.mean.float()
            if noisy:
                latents = latents + NOISE * torch.randn_like(latents)
            values.append(psnr(vae.decode(latents).sample.float(), clips))
    return torch.cat(values).mean().item()


def averaged(work) -> AutoencoderKLCogVideoX:
    """The averaged weights of the first training, with the tuned decoder's over them if there is one."""
    vae, state = create(), common.load(work / "vae.pt")
    vae.load_state_dict({**state["model"], **state["average"]})
    if tuned := common.load(work / "vae-decoder.pt"):
        vae.decoder.load_state_dict(tuned["average"])
    return vae.eval()


def tune_decoder(args, log):
    """With the encoder frozen (latents already in use stay valid), improve the decoder alone."""
    path = args.work / "vae-decoder.pt"
    state = common.load(path)
    vae = averaged(args.work)
    vae.encoder.requires_grad_(False)
    if state:
        vae.decoder.load_state_dict(state["model"])
    decoder = vae.decoder
    optimiser = common.MuonAdamW(decoder, args.lr, adam_only=("conv_in", "conv_out"))
    average = common.Average(decoder, 0.99)
    start, elapsed = 0, 0.0
    if state:
        optimiser.load_state_dict(state["optimiser"])
        average.values, average.count = state["average"], state["count"]
        start, elapsed = state["step"], state["elapsed"]
    log(f"decoder alone, from step {start}")
    combinations, rng = shapes.training_combinations(), random.Random(args.seed + 7 + start)
    began, running = time.time(), None
    for step in range(start, args.decoder_steps):
        common.set_learning_rate(optimiser, common.learning_rate(step, args.decoder_steps, args.lr, decay=0.7, warmup=20))
        clips = batch_of(combinations, args.clips, shapes.FRAMES, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                mean = vae.encode(clips).latent_dist.mean.float()
            decoded = vae.decode(mean + NOISE * torch.randn_like(mean)).sample.float()
        loss = F.l1_loss(decoded, clips) + 4 * F.mse_loss(decoded, clips)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimiser.step()
        average.update(decoder)
        value = psnr(decoded.detach(), clips).mean().item()
        running = value if running is None else 0.95 * running + 0.05 * value
        if step % 25 == 24 or step == args.decoder_steps - 1:
            spent = elapsed + time.time() - began
            log(f"decoder step {step + 1} loss {loss.item():.4f} psnr {running:.2f} {spent:.0f}s")
            common.save(
                path,
                model=decoder.state_dict(),
                optimiser=optimiser.state_dict(),
                average={**decoder.state_dict(), **average.values},
                count=average.count,
                step=step + 1,
                elapsed=spent,
            )
    vae = averaged(args.work)
    log(f"decoder done: psnr {evaluate(vae):.2f} (noisy latents {evaluate(vae, noisy=True):.2f})")


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--picture-steps", type=int, default=500)
    parser.add_argument("--steps", type=int, default=3000, help="all steps, pictures included")
    parser.add_argument("--begin-with", type=Path, help="folder of weights to go on from, the published checkpoint's; leave out pictures then")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--clips", type=int, default=2, help="whole 17-frame clips a batch; crops and shorter clips: more")
    parser.add_argument("--crop-share", type=float, default=0.5, help="share of the schedule spent on crops")
    parser.add_argument("--decoder-steps", type=int, help="instead: so many more steps of the decoder alone, the encoder frozen")
    parser.add_argument("--minutes", type=float, help="bring the schedule's end to this many minutes after the start")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    log = common.Log(args.work / "vae.log")

    if args.decoder_steps:
        return tune_decoder(args, log)

    vae = create()
    if args.begin_with:
        vae.load_state_dict(AutoencoderKLCogVideoX.from_pretrained(args.begin_with, torch_dtype=torch.float32).state_dict())
        with torch.no_grad():
            vae.encoder.conv_out.conv.bias[LATENT_CHANNELS:] = 2 * math.log(NOISE)
    optimiser = common.MuonAdamW(vae, args.lr, adam_only=("conv_in", "conv_out"))
    average = common.Average(vae, 0.995)
    start, elapsed = 0, 0.0
    if state := common.load(args.work / "vae.pt"):
        vae.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        average.values, average.count = state["average"], state["count"]
        start, elapsed = state["step"], state["elapsed"]
    log(f"vae: {common.parameters(vae):,} parameters, decoder {common.parameters(vae.decoder):,}, from step {start}")

    def checkpoint(step):
        common.save(
            args.work / "vae.pt",
            model=vae.state_dict(),
            optimiser=optimiser.state_dict(),
            average=average.values,
            count=average.count,
            step=step,
            elapsed=elapsed + time.time() - began,
        )

    def averaged_score():
        copy = create()
        average.copy_to(copy)
        return evaluate(copy), evaluate(copy, noisy=True)

    combinations = shapes.training_combinations()
    rng = random.Random(args.seed + start)
    began, running = time.time(), None
    for step in range(start, args.steps):
        total = args.steps
        progress = step
        if args.minutes:  # the schedule follows the clock
            progress = round(min(1.0, (elapsed + time.time() - began) / (60 * args.minutes)) * total)
            if progress >= total:
                break
        rate = common.learning_rate(progress, total, args.lr, decay=0.5) * min(1.0, (step + 1) / 100)
        common.set_learning_rate(optimiser, rate)
        if step < args.picture_steps:
            clips = batch_of(combinations, args.pictures, 1, rng)
        elif progress < args.crop_share * total:
            clips = crops_of(batch_of(combinations, 4 * args.clips, shapes.FRAMES, rng), shapes.SIZE // 2, rng)
        elif step % 2:
            clips = batch_of(combinations, 2 * args.clips, 9, rng)
        else:
            clips = batch_of(combinations, args.clips, shapes.FRAMES, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mean = vae.encode(clips).latent_dist.mean.float()
            decoded = vae.decode(mean + NOISE * torch.randn_like(mean)).sample.float()
        size = mean.pow(2).mean()
        loss = F.l1_loss(decoded, clips) + 4 * F.mse_loss(decoded, clips) + 1e-3 * size
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        average.update(vae)
        value = psnr(decoded.detach(), clips).mean().item()
        running = value if running is None else 0.95 * running + 0.05 * value
        if step % 25 == 0:
            log(f"step {step} loss {loss.item():.4f} psnr {running:.2f} latents' square {size.item():.2f} grad {norm:.2f} {elapsed + time.time() - began:.0f}s")
        if step % 250 == 249:
            clean, noisy = averaged_score()
            log(f"step {step} averaged weights, unseen clips: psnr {clean:.2f} (noisy latents {noisy:.2f})")
            checkpoint(step + 1)
    checkpoint(step + 1)
    clean, noisy = averaged_score()
    log(f"done after {elapsed + time.time() - began:.0f}s: psnr {clean:.2f} (noisy latents {noisy:.2f})")


if __name__ == "__main__":
    main()
