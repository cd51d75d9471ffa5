/** Reads saved latents. A chunk of its own: most pages read none. */
import { parseJsonObject } from "../base/json-scan.ts";
import { memorySource } from "../sources/memory.ts";
import { openSafetensors } from "../files/safetensors.ts";
import { toFloat32 } from "../files/convert.ts";
import { CogwheelError } from "../base/errors.ts";
import { expectFinite } from "../base/finite.ts";
import { TASKS, type Task } from "../models/cogvideox/task.ts";
import { LATENTS_FORMAT, VIDEO_LATENTS_FORMAT, type SavedRun } from "./latents-file.ts";
import { defined } from "./options.ts";
import { isSaved, SAVED_TYPES, type SavedSettings } from "./options/saved.ts";
import { latentFrames } from "./settings.ts";
import type { VideoLatents } from "./video-vae.ts";

/** A saved run, to go on from: its `state` is `start` of `generate`. `label` is what errors call the file. */
export async function readLatents(bytes: Uint8Array, label: string): Promise<SavedRun> {
  const fail = (rule: string): CogwheelError => new CogwheelError("latents", `${label}: ${rule}`);
  const file = await openSafetensors(memorySource({ latents: bytes }, label), "latents");
  const { format, step, settings } = file.metadata;
  const info = file.tensors.get("latents");
  if (info?.shape.length !== 5)
    throw fail(
      `a file of latents must hold "latents" [n, F, C, H, W], ` +
        `got ${info ? `[${info.shape.join(", ")}]` : [...file.tensors.keys()].join(", ") || "nothing"}; make one with --save-latents`,
    );
  if (format === VIDEO_LATENTS_FORMAT)
    throw fail(
      "the latents must be those of a run, got an encoded video's; decode them with `cogwheel vae decode`, or begin from the video itself",
    );
  if (format !== undefined && format !== LATENTS_FORMAT)
    throw fail(`__metadata__ must say format ${LATENTS_FORMAT}, got ${JSON.stringify(format)}`);
  const read = async (name: string) => {
    const values = toFloat32((await file.read(name)).bytes, file.tensors.get(name)!.dtype);
    if (values.length === 0 || !values.every(Number.isFinite))
      throw fail(`"${name}" must hold finite numbers, got ${values.length ? "others" : "none"}; save the latents again`);
    return values;
  };
  const done = Number(step ?? 0);
  if (!Number.isInteger(done) || done < 0) throw fail(`step must be a whole number, got ${JSON.stringify(step)}`);
  const saved = readSettings(settings ?? "{}", fail);
  const old = file.tensors.get("original");
  if (old && old.shape.join() !== info.shape.join())
    throw fail(
      `"original" must have the shape of "latents", [${info.shape.join(", ")}], got [${old.shape.join(", ")}]; save the latents again`,
    );
  const more = (name: "original" | "condition") => (file.tensors.has(name) ? read(name) : undefined);
  // Latents without a step are noise that somebody gives.
  const given = step === undefined || done === 0 || file.metadata["given_noise"] === "true" ? { givenNoise: true } : {};
  return {
    state: {
      step: done,
      latents: await read("latents"),
      ...defined({ original: await more("original"), condition: await more("condition"), task: saved.task }),
      ...given,
    },
    shape: info.shape,
    settings: saved,
  };
}

/**
 * The videos' latents in a file: an encoded video's, or those that a generation saved, without the frames that 1.5 models pad in front.
 * @param label what errors call the file
 * @param temporal frames a latent frame, of the VAE that is to decode them
 */
export async function readVideoLatents(
  bytes: Uint8Array,
  label: string,
  temporal: number,
): Promise<{ videos: VideoLatents[]; fps: number | undefined }> {
  const file = await openSafetensors(memorySource({ latents: bytes }, label), "latents");
  const encoded = file.metadata["format"] === VIDEO_LATENTS_FORMAT;
  const info = file.tensors.get("latents");
  if (encoded && info?.shape.length !== 5)
    throw new CogwheelError(
      "latents",
      `${label}: a file of latents must hold "latents" [n, F, C, H, W], ` +
        `got ${info ? `[${info.shape.join(", ")}]` : "none"}; encode the video again`,
    );
  const run = encoded ? undefined : await readLatents(bytes, label);
  const data = run?.state.latents ?? toFloat32((await file.read("latents")).bytes, info!.dtype);
  if (!run) expectFinite(data, "latents", `${label}: "latents"`, "encode the video again");
  const [samples, frames, channels, height, width] = (run?.shape ?? info!.shape) as [number, number, number, number, number];
  const skip = run?.settings.frames === undefined ? 0 : frames - latentFrames(run.settings.frames, temporal);
  if (skip < 0)
    throw new CogwheelError(
      "latents",
      `${label}: ${run!.settings.frames} frames need ${frames - skip} latent frames, got ${frames}; save the latents again`,
    );
  const frame = channels * height * width;
  const videos = Array.from({ length: samples }, (_, n) => ({
    data: data.slice((n * frames + skip) * frame, (n + 1) * frames * frame),
    frames: frames - skip,
    channels,
    height,
    width,
  }));
  const fps = run ? run.settings.fps : file.metadata["fps"] === undefined ? undefined : Number(file.metadata["fps"]);
  return { videos, fps: fps !== undefined && Number.isFinite(fps) && fps > 0 ? fps : undefined };
}

/** Settings that this version does not know are those of another one, and change the result: they are refused. */
function readSettings(text: string, fail: (rule: string) => CogwheelError): SavedSettings {
  const json = parseJsonObject(text, (rule) => fail(`settings ${rule}; save the latents again`));
  for (const [key, value] of Object.entries(json)) {
    const type = SAVED_TYPES.get(key);
    if (!type)
      throw fail(
        `settings may hold ${[...SAVED_TYPES.keys()].join(", ")}, got ${JSON.stringify(key)}; use the version that wrote the file`,
      );
    if (key === "task" && !TASKS.includes(value as Task))
      throw fail(`settings.task must be ${TASKS.join(", ")}, got ${JSON.stringify(value)}; save the latents again`);
    if (!isSaved(value, type)) throw fail(`settings.${key} must be a ${type}, got ${JSON.stringify(value)}; save the latents again`);
  }
  return json;
}
