/** Calls that most pages never make: what they run is a chunk of its own, which the first call loads. */
import type * as cases from "./check/reference/case.ts";
import type * as runs from "./check/reference/run.ts";
import type * as enhancing from "./curation/enhance/enhance.ts";
import type * as encoding from "./data/encode.ts";
import type * as folders from "./data/folder.ts";
import type * as samples from "./data/samples.ts";
import type * as lpips from "./models/lpips/open.ts";
import type * as adapters from "./pipelines/lora-file.ts";
import type * as prompts from "./pipelines/prompt-cache.ts";
import type * as latents from "./pipelines/read-latents.ts";
import type * as rates from "./tuning/rates.ts";
import type * as tuning from "./tuning/tune.ts";

/** A case from a file of `source`, or from the bytes of one. `name` is what reports call it. */
export const readCase: typeof cases.readCase = async (...of) => (await import("./check/reference/case.ts")).readCase(...of);

/** Runs a reference case on an adapter and compares what it gives. */
export const runCase: typeof runs.runCase = async (...of) => (await import("./check/reference/run.ts")).runCase(...of);

/**
 * Measures every kernel that this adapter can run for the work of a generation of this model, on drawn data: no weights are read.
 * Work that would take longer than a measurement may is left to the choice by capability, and said so.
 */
export const tune: typeof tuning.tune = async (...of) => (await import("./tuning/tune.ts")).tune(...of);

/**
 * How fast this model's kernels run on its adapter, and how fast its weights come: `model.times` says with them how long a generation will
 * take. The first call for a model takes some seconds; in Node the rates are kept for this user beside the tuning table.
 */
export const measureRates: typeof rates.measureRates = async (...of) => (await import("./tuning/rates.ts")).measureRates(...of);

/** What is kept for this user of encoded prompts, what was used last first, and where it lies; undefined where nothing can be kept. */
export const listPrompts: typeof prompts.listPrompts = async () => (await import("./pipelines/prompt-cache.ts")).listPrompts();

/** Forgets what is kept for this user of encoded prompts. Resolves to how much that was. */
export const clearPrompts: typeof prompts.clearPrompts = async () => (await import("./pipelines/prompt-cache.ts")).clearPrompts();

/** A saved run, to go on from: its `state` is `start` of `generate`. `label` is what errors call the file. */
export const readLatents: typeof latents.readLatents = async (...of) => (await import("./pipelines/read-latents.ts")).readLatents(...of);

/**
 * The videos' latents in a file: an encoded video's, or those that a generation saved, without the frames that 1.5 models pad in front.
 * @param label what errors call the file
 * @param temporal frames a latent frame, of the VAE that is to decode them
 */
export const readVideoLatents: typeof latents.readVideoLatents = async (...of) =>
  (await import("./pipelines/read-latents.ts")).readVideoLatents(...of);

/**
 * Reads an adapter. PEFT's files come with their config; what the config asks for is checked when the adapter meets a model.
 * @param from a file or folder (Node), a URL of a file, a repository on the hub or the address of a file or folder in it, or the bytes
 * of a file
 */
export const loadLora: typeof adapters.loadLora = async (...of) => (await import("./pipelines/lora-file.ts")).loadLora(...of);

/**
 * Opens LPIPS for `trainVae`: torchvision's VGG16 and the heads of the package lpips, or one file of stlpips-pytorch. Where two files
 * have a tensor, the later one's counts. Weights are read from the sources when a run begins, so leave those open until it has ended.
 */
export const openLpips: typeof lpips.openLpips = async (...of) => (await import("./training/vae/run.ts")).openLpips(...of);

/**
 * Reads a folder of clips with captions: `metadata.jsonl`, or `prompts.txt` and `videos.txt`.
 * @param from a folder (Node), a URL, or a source such as `filesSource` and `memorySource` give
 */
export const openClips: typeof folders.openClips = async (...of) => (await import("./data/folder.ts")).openClips(...of);

/** Reads, checks and encodes clips and their captions for training; what was encoded before is not encoded again. */
export const prepareClips: typeof encoding.prepareClips = async (...of) => (await import("./data/encode.ts")).prepareClips(...of);

/** Prepared clips as what `train` takes: shuffled in every epoch, each time another draw of a clip's latents. */
export const clipSamples: typeof samples.clipSamples = (...of) =>
  async function* (epoch) {
    yield* (await import("./data/samples.ts")).clipSamples(...of)(epoch);
  };

/** The encoding of "", for `nullText`; of clips that were prepared with `emptyText`. */
export const emptyText: typeof samples.emptyText = async (...of) => (await import("./data/samples.ts")).emptyText(...of);

/**
 * Rewrites a short prompt into one of the kind that the models were trained on, by a language model behind an OpenAI-compatible address;
 * with `image` by one that sees. What cannot be had leaves the prompt as it is, and says why in `reason`.
 */
export const enhance: typeof enhancing.enhance = async (...of) => (await import("./curation/enhance/enhance.ts")).enhance(...of);
