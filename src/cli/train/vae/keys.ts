/** What a run of a VAE's training can be told: every key of its CONFIG.json, which is a flag of the command too. */
import { key, type KeyTable, TRAIN_KEYS, type TrainKey } from "../keys.ts";

const { vae, data, out, stages, filter, fps, steps, seed, batch, accumulation } = TRAIN_KEYS;
const { optimizer, lr, betas, eps, weightDecay, momentum, bits, schedule, warmup, floor, maxGradNorm, ema } = TRAIN_KEYS;
const { adapter, variant, checkpointEvery } = TRAIN_KEYS;

/** By name, in the order of the help. */
export const VAE_KEYS = {
  model: key(
    "path",
    "checkpoint whose VAE is trained, or a VAE's folder: a folder, a URL, or org/name[@revision] on the hub",
    "the embedded model",
  ),
  vae: { ...vae, help: "a VAE that is trained in place of the checkpoint's: its folder, or a .safetensors file" },
  data: key("path", "folder of clips: metadata.jsonl, prompts.txt and videos.txt, or clips alone", data.otherwise),
  out,
  part: key("choice", "what is trained: with the decoder alone latents stay as they are", "decoder", {
    choices: ["decoder", "encoder", "both"],
  }),
  scratch: key("flag", "begin with drawn weights in place of the checkpoint's", "false"),
  stages,
  filter,
  resolution: key("text", "WIDTHxHEIGHT for all clips, or the shorter side, with each clip's own aspect", "the VAE's own size"),
  frames: key("whole", "the most frames of a clip, 8·k + 1; 1 for pictures", "17", { min: 1 }),
  fps: { ...fps, otherwise: "8" },
  steps,
  seed,
  batch,
  crop: key("whole", "pixels of a side of a window of each clip, drawn anew each time: edges and motion are local", "the whole clip", {
    min: 8,
  }),
  accumulation,
  l1: key("number", "what the mean absolute difference of pixels counts", "1", { min: 0 }),
  mse: key("number", "what the mean squared difference of pixels counts", "0", { min: 0 }),
  kl: key("number", "what the posterior's distance from a normal distribution counts", "1e-6", { min: 0 }),
  perceptual: key("number", "what LPIPS counts, the mean over all frames", "0", { min: 0 }),
  perceptualFrames: key("choice", "frames of a clip that LPIPS is of: all, or one that is drawn for each step", "all", {
    choices: ["all", "one"],
  }),
  logvar: key("number", "a log-variance s by which the reconstruction counts: divided by e^s, and s added", "none"),
  learnLogvar: key("flag", "s is learnt beside the weights, from logvar or 0 on", "false"),
  lpips: key("paths", "files of LPIPS: VGG16 and its heads, or one of stlpips-pytorch", "none"),
  disc: key("number", "what a discriminator counts, besides the weight that lengths of gradients give", "0", { min: 0 }),
  discStart: key("whole", "the first step, from 0, in which it is asked and learns", "0", { min: 0 }),
  discLr: key("number", "its learning rate", "the stage's", { min: 0 }),
  discLayers: key("whole", "its convolutions between the first and the last", "3", { min: 1 }),
  discWidth: key("whole", "channels of its first convolution", "64", { min: 1 }),
  discKernel: key("whole", "taps of its convolutions along every axis, 2 to 7", "3", { min: 2 }),
  discNorm: key("choice", "its norms", "batch", { choices: ["batch", "instance", "none"] }),
  discCausal: key("flag", "in time it sees what came before alone, so that the first frame is judged as a picture is", "false"),
  discPenalty: key("choice", "the length of its gradient costs: its square (r1), or what it is off 1 by, squared (unit)", "none", {
    choices: ["none", "r1", "unit"],
  }),
  discPenaltyWeight: key("number", "what that counts: γ of γ/2 · ‖∇‖², or λ of λ · (‖∇‖ − 1)²", "10", { min: 0 }),
  discPenaltyEvery: key("whole", "of so many steps of the discriminator one is penalised, by so many times as much", "1", { min: 1 }),
  latents: key("choice", "what the decoder learns from: draws from the posterior, or its mean", "sample", { choices: ["sample", "mean"] }),
  statistics: key("choice", "norms over batches of frames, as in use, or over the whole clip", "batches", { choices: ["batches", "clip"] }),
  passes: key("choice", "a clip in one graph, or by batches of frames in the memory of one batch", "by its size", {
    choices: ["auto", "whole", "batches"],
  }),
  workers: key("workers", "split clips in time over so many processes, or over one on each of these adapters (gpu,lavapipe)", "this one"),
  optimizer,
  lr,
  betas,
  eps,
  weightDecay,
  momentum,
  bits,
  offload: key("flag", "AdamW's means lie in the host's memory between updates, to the same bytes", "false"),
  schedule,
  warmup,
  floor,
  maxGradNorm,
  ema,
  checkpointing: key("choice", "what is kept of a block's forward pass", "blocks", { choices: ["none", "blocks"] }),
  dtype: key("choice", "storage type of activations and of weights that are not trained", "f32", { choices: ["f32", "f16"] }),
  adapter,
  variant,
  checkpointEvery,
  heldOut: key("path", "folder of clips that are not learned from, which are reconstructed and measured", "none"),
  heldOutEvery: key("whole", "steps between two measurements of them", "100", { min: 1 }),
} satisfies Readonly<Record<string, TrainKey>>;

/** Keys that a stage may have; what it leaves out is as the run has it. Only `steps` must be there. */
export const VAE_STAGE_KEYS = [
  "steps",
  "resolution",
  "frames",
  "fps",
  "filter",
  "batch",
  "crop",
  "lr",
  "l1",
  "mse",
  "perceptual",
  "kl",
  "disc",
] as const satisfies readonly (keyof typeof VAE_KEYS)[];

export const VAE_TABLE: KeyTable = { page: "docs/training-vae.md", keys: VAE_KEYS, ofStage: VAE_STAGE_KEYS };
