"""Train the expert transformer (diffusers' CogVideoXTransformer3DModel) on cached latents.

The text encoder and the autoencoder are frozen. The noise schedule and the v-prediction objective are
those of CogVideoXDDIMScheduler. High-noise timesteps, where colour and place are decided, are drawn
more often, and latent positions that the shape touches weigh more (a weight per position leaves the
optimum, a conditional mean, where it was). The pool of clips grows while training runs.
"""

from __future__ import annotations

import random
import time

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from transformers import T5Tokenizer

import common
import shapes
import text
import vae as autoencoder

LATENT_FRAMES, LATENT_SIZE = 5, 8


def create() -> CogVideoXTransformer3DModel:
    model = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=64,
        in_channels=autoencoder.LATENT_CHANNELS,
        out_channels=autoencoder.LATENT_CHANNELS,
        time_embed_dim=256,
        text_embed_dim=text.WIDTH,
        num_layers=5,
        sample_width=LATENT_SIZE,
        sample_height=LATENT_SIZE,
        sample_frames=shapes.FRAMES,
        max_text_seq_length=text.LENGTH,
        use_rotary_positional_embeddings=True,
    )
    # Blocks start as plain pre-norm residual blocks with quiet outputs, whatever the timestep.
    torch.nn.init.zeros_(model.proj_out.weight)
    torch.nn.init.zeros_(model.proj_out.bias)
    torch.nn.init.zeros_(model.norm_out.linear.weight)
    torch.nn.init.zeros_(model.norm_out.linear.bias)
    for block in model.transformer_blocks:
        for norm in (block.norm1, block.norm2):
            torch.nn.init.zeros_(norm.linear.weight)
            shift, scale, gate, text_shift, text_scale, text_gate = norm.linear.bias.data.chunk(6)
            for bias in (shift, scale, text_shift, text_scale):
                bias.zero_()
            gate.fill_(1)
            text_gate.fill_(1)
        for last in (block.attn1.to_out[0], block.ff.net[2]):
            last.weight.data.mul_(0.3)
    return model


def create_scheduler() -> CogVideoXDDIMScheduler:
    return CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=False,
        snr_shift_scale=1.0,
    )


def rotary_embedding():
    """The pipeline's own tables for 64x64 and 17 frames: the grid is the model's base grid."""
    grid = LATENT_SIZE // 2
    return get_3d_rotary_pos_embed(
        embed_dim=64,
        crops_coords=((0, 0), (grid, grid)),
        grid_size=(grid, grid),
        temporal_size=LATENT_FRAMES,
    )


class TextEncoder:
    """Frozen embeddings of captions, as the pipeline computes them."""

    def __init__(self, work):
        self.tokenizer = T5Tokenizer.from_pretrained(work / "tokenizer")
        self.model = text.create()
        self.model.load_state_dict(common.load(work / "text.pt")["model"])
        self.model.eval()

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> torch.Tensor:
        return self.model(text.tokenize(self.tokenizer, captions)).last_hidden_state


class Pool:
    """Encoded clips of the training combinations: latents [N, 5, 8, 8, 8] before scaling, f16."""

    def __init__(self, work, vae, seed: int):
        self.path, self.vae = work / "latents.pt", vae
        self.combinations = shapes.training_combinations()
        state = common.load(self.path) or {"latents": [], "touched": [], "which": []}
        self.latents, self.touched, self.which = (list(state[k]) for k in ("latents", "touched", "which"))
        self.seed = seed

    def __len__(self):
        return len(self.which)

    @torch.no_grad()
    def grow(self, count: int):
        which = [(len(self) + i) % len(self.combinations) for i in range(count)]
        rng = random.Random(f"{self.seed} {len(self)}")
        clips = torch.stack([shapes.render(self.combinations[i], rng) for i in which])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latents = self.vae.encode(clips).latent_dist.mean
        # Which latent positions see the shape: pixels unlike the corner colour, pooled over 4x8x8.
        for i, clip in zip(which, clips):
            background = torch.tensor(shapes.BACKGROUNDS[self.combinations[i].background]) / 127.5 - 1
            inside = ((clip - background[:, None, None, None]).abs().sum(0) > 0.3).float()
            inside = torch.cat([inside[:1].expand(3, -1, -1), inside])
            touched = torch.nn.functional.max_pool3d(inside[None, None], (4, 8, 8))[0, 0]
            self.touched.append(touched.bool())
        self.latents += list(latents.transpose(1, 2).half())
        self.which += which

    def save(self):
        common.save(
            self.path,
            latents=torch.stack(self.latents),
            touched=torch.stack(self.touched),
            which=torch.tensor(self.which),
        )

    def scaling_factor(self) -> float:
        return 1 / torch.stack(self.latents[:1024]).float().std().item()


@torch.no_grad()
def sample(model, scheduler, embeddings, empty, seeds, steps: int, guidance: float) -> torch.Tensor:
    """The loop of CogVideoXPipeline over a batch; scaled latents [B, 5, C, 8, 8]."""
    count = len(embeddings)
    shape = (LATENT_FRAMES, autoencoder.LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE)
    latents = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])
    condition = torch.cat([empty.expand(count, -1, -1), embeddings])
    rotary = rotary_embedding()
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        output = model(torch.cat([latents] * 2), condition, t.expand(2 * count), image_rotary_emb=rotary).sample
        without, with_text = output.float().chunk(2)
        latents = scheduler.step(without + guidance * (with_text - without), t, latents).prev_sample
    return latents


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--until", help="HH:MM of today (UTC): bring the schedule's end there")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--first-clips", type=int, default=1104)
    parser.add_argument("--clips", type=int, default=16000)
    parser.add_argument("--grow-every", type=int, default=4, help="one new clip each so many steps")
    parser.add_argument("--weight", type=float, default=2.0, help="extra weight of positions that the shape touches")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    log = common.Log(args.work / "transformer.log")

    encode = TextEncoder(args.work)
    pool = Pool(args.work, autoencoder.averaged(args.work), args.seed)
    while len(pool) < args.first_clips:
        pool.grow(8)
        if len(pool) % 200 == 0:
            log(f"{len(pool)} clips encoded")
    forms = len(shapes.CAPTION_FORMS)
    captions = encode([c.caption(form) for c in pool.combinations for form in range(forms)])
    captions = captions.unflatten(0, (-1, forms))
    empty = encode([""])[0]

    model = create()
    optimiser = common.MuonAdamW(model, args.lr, adam_only=("proj_out", "patch_embed", "norm1.linear", "norm2.linear", "norm_out", "time_embedding"), weight_decay=0.01)
    average = common.Average(model, 0.998)
    start, elapsed, scaling = 0, 0.0, None
    if state := common.load(args.work / "transformer.pt"):
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        average.values, average.count = state["average"], state["count"]
        start, elapsed, scaling = state["step"], state["elapsed"], state["scaling_factor"]
    if scaling is None:
        scaling = pool.scaling_factor()
    log(f"transformer: {common.parameters(model):,} parameters, {len(pool)} clips, scaling factor {scaling:.4f}, from step {start}")

    alphas = create_scheduler().alphas_cumprod.float()
    rotary = rotary_embedding()
    began = time.time()

    def checkpoint(step):
        common.save(
            args.work / "transformer.pt",
            model=model.state_dict(),
            optimiser=optimiser.state_dict(),
            average=average.values,
            count=average.count,
            step=step,
            elapsed=elapsed + time.time() - began,
            scaling_factor=scaling,
        )
        pool.save()

    total_time = None
    if args.until:
        hour, minute = map(int, args.until.split(":"))
        now = time.gmtime()
        remaining = (hour * 60 + minute - now.tm_hour * 60 - now.tm_min) * 60 - now.tm_sec
        total_time = elapsed + remaining
    band_sum, band_count = torch.zeros(4), torch.zeros(4)
    for step in range(start, args.steps):
        progress = step
        if total_time:
            spent = elapsed + time.time() - began
            progress = round(min(1.0, spent / total_time) * args.steps)
            if progress >= args.steps:
                break
        rate = common.learning_rate(progress, args.steps, args.lr, decay=0.4) * min(1.0, (step + 1) / 200)
        common.set_learning_rate(optimiser, rate)
        if step % (8 * args.grow_every) == 0 and len(pool) < args.clips:
            pool.grow(8)

        pick = torch.randint(len(pool), (args.batch,)).tolist()
        clean = torch.stack([pool.latents[i] for i in pick]).float()
        clean = (clean + autoencoder.NOISE * torch.randn_like(clean)) * scaling
        touched = torch.stack([pool.touched[i] for i in pick])[:, :, None].float()
        condition = captions[[pool.which[i] for i in pick], torch.randint(forms, (args.batch,))]
        condition = torch.where(torch.rand(args.batch, 1, 1) < 0.1, empty, condition)

        # Stratified over the batch, denser towards t = 999.
        uniform = (torch.arange(args.batch) + torch.rand(args.batch)) / args.batch
        t = (uniform.pow(0.7) * 1000).long().clamp(max=999)
        signal, sigma = (a.sqrt()[:, None, None, None, None] for a in (alphas[t], 1 - alphas[t]))
        noise = torch.randn_like(clean)
        noisy, velocity = signal * clean + sigma * noise, signal * noise - sigma * clean
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(noisy, condition, t, image_rotary_emb=rotary).sample.float()
        error = (output - velocity).pow(2)
        loss = (error * (1 + args.weight * touched)).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update(model)

        band = t // 250
        band_sum.index_add_(0, band, error.detach().flatten(1).mean(1))
        band_count.index_add_(0, band, torch.ones(args.batch))
        if step % 100 == 99:
            bands = " ".join(f"{v:.4f}" for v in band_sum / band_count)
            log(f"step {step + 1} error by quarter of t: {bands} grad {norm:.2f} lr {rate:.1e} {len(pool)} clips {elapsed + time.time() - began:.0f}s")
            band_sum.zero_(), band_count.zero_()
        if step % 500 == 499:
            checkpoint(step + 1)
    checkpoint(step + 1)
    log("done")


if __name__ == "__main__":
    main()
