/**
 * Clips and captions as a model learns from them: moments of the VAE's posterior and what the text encoder makes of captions, encoded once
 * and kept. The encoders are loaded only where something is missing, and are gone before the transformer trains.
 */
import { CogwheelError } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { Encoders } from "../pipelines/cogvideox/encoders.ts";
import { BrokenClips, scanClips } from "./broken.ts";
import { checkSizes } from "./clip-size.ts";
import type { ClipFolder } from "./folder.ts";
import type { PrepareClipsOptions, PreparedClip, PreparedClips } from "./prepared.ts";
import { type ReadClip, readPixels } from "./read.ts";
import { ClipStore, digestOf } from "./store.ts";

/** A caption's end that was cut is told in so many characters. */
const SHOWN = 60;

/** Reads, checks and encodes clips; what was encoded before is not encoded again. */
export async function prepareClips(model: CogVideoX, folder: ClipFolder, options: PrepareClipsOptions): Promise<PreparedClips> {
  const { sizes, signal, onProgress, emptyText = false } = options;
  const { transformer } = model.configs;
  checkSizes(sizes, model.rules, transformer.use_learned_positional_embeddings);
  const store = await ClipStore.open(options.cache);
  const encoders = await model.encoders();
  try {
    const [vae, text] = [await encoders.madeBy("vae"), await encoders.madeBy("text_encoder")];
    const textKey = (caption: string) => digestOf(["text", caption, encoders.textLength, text]);
    const noises = takesImage(model) ? (options.imageNoises ?? 4) : 0;
    const found: PreparedClip[] = [];
    for (const [i, row] of folder.rows.entries()) {
      signal?.throwIfAborted();
      const content = await sha256(await folder.read(row.file, signal));
      const imageKeys = Array.from({ length: noises }, (_, n) => digestOf(["image", content, sizes.resolution, n, vae]));
      found.push({
        row,
        content,
        latents: await digestOf(["clip", content, sizes, vae]),
        text: await textKey(row.caption),
        images: await Promise.all(imageKeys),
      });
      onProgress?.("read clips", (i + 1) / folder.rows.length);
    }
    const broken = new BrokenClips(folder, options);
    const complete = (clip: PreparedClip): boolean => [clip.latents, ...clip.images].every((key) => store.has(key));
    await scanClips(
      found.filter((clip) => !complete(clip)).map(({ row }) => row),
      folder,
      broken,
      options,
    );
    const whole = found.filter(({ row }) => !broken.has(row));
    const unread = whole.filter((clip) => !complete(clip));
    for (const [i, clip] of unread.entries()) {
      await encodeClip(model, encoders, store, folder, clip, broken, options);
      onProgress?.("encode clips", (i + 1) / unread.length, clip.row.file);
    }
    await encoders.release();
    const clips = whole.filter(({ row }) => !broken.has(row));
    const empty = await textKey("");
    const captions = new Map(clips.map((clip) => [clip.text, clip.row.caption]));
    if (emptyText) captions.set(empty, "");
    const unsaid = [...captions].filter(([key]) => !store.has(key));
    for (const [i, [key, caption]] of unsaid.entries()) {
      const { data, cut } = await encoders.text(caption, options);
      if (cut !== null)
        options.onWarning?.(`[data] a caption may have ${encoders.textLength} tokens; cut off: ${JSON.stringify(cut.slice(0, SHOWN))}`);
      const shape = [encoders.textLength, data.length / encoders.textLength];
      await store.write(key, { text: { shape, data: new Float32Array(data) } });
      onProgress?.("encode captions", (i + 1) / unsaid.length);
    }
    const identity = {
      weights: await digestOf(await encoders.component("transformer")),
      encoders: await digestOf([await encoders.component("vae"), await encoders.component("text_encoder")]),
      data: await digestOf(clips.map(({ content, row }) => [content, row.caption])),
      clips: clips.length,
      sizes,
      ...(noises ? { imageNoises: noises } : {}),
    };
    return { clips, store, emptyText: empty, broken: broken.names, identity };
  } finally {
    await encoders.release();
  }
}

/** Does the transformer see an image's latents beside the noise? Throws for what it may see else, which clips do not tell. */
export function takesImage({ rules, configs }: CogVideoX): boolean {
  if (rules.takes === "text") return false;
  if (configs.transformer.in_channels === 2 * configs.transformer.out_channels && rules.takes !== "control") return true;
  throw new CogwheelError(
    "data",
    `clips and captions teach models of text and of an image, got one that takes ${rules.takes}; choose another`,
  );
}

async function encodeClip(
  model: CogVideoX,
  encoders: Encoders,
  store: ClipStore,
  folder: ClipFolder,
  clip: PreparedClip,
  broken: BrokenClips,
  options: PrepareClipsOptions,
): Promise<void> {
  const { rules } = model;
  const { sizes, signal } = options;
  const { row } = clip;
  let read: ReadClip;
  try {
    read = await readPixels(folder, row, { sizes, spatial: rules.spatial * rules.patchSize, temporal: rules.temporal, signal });
  } catch (error) {
    broken.add(row, error);
    broken.check();
    return;
  }
  const { frames, pixels, width, height } = read;
  if (!store.has(clip.latents)) {
    const { mean, logvar, shape } = await encoders.clip(pixels, { frames: frames.length, width, height }, options);
    const [, ...of] = shape;
    await store.write(clip.latents, {
      mean: { shape: of, data: new Float32Array(mean) },
      logvar: { shape: of, data: new Float32Array(logvar) },
    });
  }
  if (clip.images.length) await (await import("./images.ts")).encodeImages(encoders, store, clip, frames[0]!, options);
}
