/**
 * Clips and captions as a model learns from them: moments of the VAE's posterior and what the text encoder makes of captions, encoded once
 * and kept. The encoders are loaded only where something is missing, and are gone before the transformer trains.
 */
import { CogwheelError } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { EncodeCall, Encoders } from "../pipelines/cogvideox/encoders.ts";
import { BrokenClips, DamagedClips, scanClips } from "./broken.ts";
import { checkSizes } from "./clip-size.ts";
import type { ClipFolder } from "./folder.ts";
import type {
  ClipTask,
  EncodedTask,
  EncodeTask,
  PrepareClipsOptions,
  PreparedClip,
  PreparedClips,
  PrepareTogetherOptions,
  SharedEncodeTask,
  TextTask,
} from "./prepared.ts";
import { type ReadClip, readPixels } from "./read.ts";
import { ClipStore, digestOf, posteriorTensors, type StoredTensors } from "./store.ts";

/** A caption's end that was cut is told in so many characters. */
const SHOWN = 60;

/** Reads, checks and encodes clips; what was encoded before is not encoded again. */
export async function prepareClips(model: CogVideoX, folder: ClipFolder, options: PrepareClipsOptions): Promise<PreparedClips> {
  return await prepareTogether(model, folder, options);
}

/** The same with the help of others. */
export async function prepareTogether(model: CogVideoX, folder: ClipFolder, options: PrepareTogetherOptions): Promise<PreparedClips> {
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
    const damaged = new DamagedClips(options);
    const { spatial, patchSize, temporal } = model.rules;
    await each(
      unread.map(({ row, latents, images }): SharedEncodeTask => {
        const missing = images.flatMap((key, n) => (store.has(key) ? [] : [[n, key] as const]));
        const task: ClipTask = {
          ...{ kind: "clip", file: row.file, sizes, spatial: spatial * patchSize, temporal, images: missing },
          ...(store.has(latents) ? {} : { latents }),
        };
        const isBroken = (error: unknown): void => {
          broken.add(row, error);
          broken.check();
        };
        return {
          task,
          input: () => folder.read(row.file, signal),
          async here() {
            let clip: ReadClip;
            try {
              clip = await readPixels(folder, row, { ...task, signal, onWarning: damaged.add });
            } catch (error) {
              return isBroken(error);
            }
            for await (const [key, tensors] of encodeClip(encoders, task, clip, options)) await store.write(key, tensors);
          },
          keep: ({ results }) => keepAll(store, results),
          broken: (why) => isBroken(new CogwheelError("video", why)),
        };
      }),
      options,
      (done, { file }) => onProgress?.("encode clips", done / unread.length, file),
    );
    damaged.tellRest();
    await encoders.release();
    const clips = whole.filter(({ row }) => !broken.has(row));
    const empty = await textKey("");
    const captions = new Map(clips.map((clip) => [clip.text, clip.row.caption]));
    if (emptyText) captions.set(empty, "");
    const unsaid = [...captions].filter(([key]) => !store.has(key));
    await each(
      unsaid.map(([key, caption]): SharedEncodeTask => {
        const task: TextTask = { kind: "text", text: caption, tokens: encoders.textLength, key };
        const keep = async ({ results, cut }: EncodedTask): Promise<void> => {
          if (cut !== undefined)
            options.onWarning?.(`[data] a caption may have ${encoders.textLength} tokens; cut off: ${JSON.stringify(cut.slice(0, SHOWN))}`);
          await keepAll(store, results);
        };
        return { task, here: async () => keep(await encodeText(encoders, task, options)), keep, broken: () => undefined };
      }),
      options,
      (done) => onProgress?.("encode captions", done / unsaid.length),
    );
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

/** All of them, by whoever there is. @param onDone told how many are */
async function each(
  tasks: readonly SharedEncodeTask[],
  { sharing, signal }: PrepareTogetherOptions,
  onDone: (done: number, task: { readonly file?: string }) => void,
): Promise<void> {
  let done = 0;
  const tell = (task: EncodeTask): void => onDone(++done, task as { readonly file?: string });
  if (sharing && tasks.length) return await sharing.share(tasks, tell);
  for (const { task, here } of tasks) {
    signal?.throwIfAborted();
    await here();
    tell(task);
  }
}

async function keepAll(store: ClipStore, results: EncodedTask["results"]): Promise<void> {
  for (const [key, tensors] of results) await store.write(key, tensors);
}

/** What is wanted of a clip, one after another. */
export async function* encodeClip(
  encoders: Encoders,
  { latents, images }: ClipTask,
  { frames, pixels, width, height }: ReadClip,
  call: EncodeCall,
): AsyncGenerator<[key: string, tensors: StoredTensors], void, void> {
  if (latents !== undefined) yield [latents, posteriorTensors(await encoders.clip(pixels, { frames: frames.length, width, height }, call))];
  if (images.length === 0) return;
  const { encodeImage } = await import("./images.ts");
  for (const [n, key] of images) yield [key, await encodeImage(encoders, frames[0]!, n, call)];
}

export async function encodeText(encoders: Encoders, { text, tokens, key }: TextTask, call: EncodeCall): Promise<EncodedTask> {
  const { data, cut } = await encoders.text(text, call);
  const results = new Map([[key, { text: { shape: [tokens, data.length / tokens], data: new Float32Array(data) } }]]);
  return { results, ...(cut === null ? {} : { cut }) };
}
