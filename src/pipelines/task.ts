/** What a generation begins with besides noise, and which checkpoints can. */
import { CogwheelError } from "../base/errors.ts";
import { channelsOf, type Frame } from "../video/frame.ts";
import type { Task } from "../models/cogvideox/task.ts";
import type { OptionsOf } from "./options/option.ts";
import { REQUESTS } from "./options/table.ts";
import { latentFrames, type ModelRules, type Settings } from "./settings.ts";

export type { Task } from "../models/cogvideox/task.ts";

/** The frames that a generation begins with, and how they are taken. */
export type TaskInputs = Pick<OptionsOf<typeof REQUESTS>, "image" | "video" | "control" | "mask" | "strength" | "fit">;

export const DEFAULT_STRENGTH = REQUESTS.strength.fallback!;

/** Which task the inputs ask for; throws unless this checkpoint was made for it. */
export function taskOf(given: TaskInputs, rules: ModelRules): Task {
  const names = (["image", "video", "control"] as const).filter((name) => given[name] !== undefined);
  const fail = (rule: string): never => {
    throw new CogwheelError("generate", rule);
  };
  if (names.length > 1) fail(`one of image, video and control can be given, got ${names.join(" and ")}; leave all but one out`);
  if (given.strength !== undefined && (names[0] !== "video" || rules.takes !== "text"))
    fail(
      `strength goes with a video to begin from, got strength ${given.strength} ` +
        `${names[0] ? `with ${rules.takes === "text" ? names[0] : `a checkpoint for ${rules.takes}`}` : "without one"}; leave it out`,
    );
  if (given.mask !== undefined && (rules.takes !== "inpaint" || names[0] !== "video"))
    fail(
      "a mask goes with a video and an inpainting checkpoint, " +
        `got ${rules.takes === "inpaint" ? "no video" : `a checkpoint for ${rules.takes}`}; leave it out`,
    );
  const [name] = names;
  const allowed: Record<ModelRules["takes"], readonly (string | undefined)[]> = {
    text: [undefined, "video"],
    image: ["image"],
    control: ["control"],
    "image or control": ["image", "control"],
    inpaint: ["image", "video"],
  };
  if (!allowed[rules.takes].includes(name)) {
    const wanted = allowed[rules.takes]
      .filter((n) => n !== undefined)
      .map((n) => `${n === "image" ? "an" : "a"} ${n}`)
      .join(" or ");
    fail(
      rules.takes === "text"
        ? "this checkpoint makes videos from text, with a video to begin from if you like, " +
            `got ${name}; leave it out or choose a checkpoint for it`
        : `this checkpoint needs ${wanted}, got ${name ?? "neither"}; ${name ? "give that" : "give one"} or choose a checkpoint for text`,
    );
  }
  return taskFrom(name, rules);
}

/** The task of what begins from this, where the checkpoint was made for it. */
export function taskFrom(name: "image" | "video" | "control" | undefined, { takes }: Pick<ModelRules, "takes">): Task {
  return name === undefined ? "text" : takes === "inpaint" ? "inpaint" : name;
}

/** Checks frames and mask; `frames` is the number of frames that will be made. */
export function checkInputs(given: TaskInputs, task: Task, frames: number): void {
  const list: [string, readonly Frame[]][] = [];
  if (given.image) list.push(["image", [given.image]]);
  for (const name of ["video", "control", "mask"] as const) if (given[name]) list.push([name, given[name]]);
  for (const [name, pictures] of list) {
    if (!Array.isArray(pictures) || pictures.length === 0)
      throw new CogwheelError(
        "generate",
        `${name} must be a list of frames, got ${Array.isArray(pictures) ? "an empty one" : typeof pictures}; decode the file first`,
      );
    for (const picture of pictures) {
      if (
        !Number.isInteger(picture?.width) ||
        !Number.isInteger(picture.height) ||
        picture.width < 1 ||
        picture.height < 1 ||
        !picture.data
      )
        throw new CogwheelError(
          "generate",
          `a frame of ${name} must have width, height and data, got ${JSON.stringify(picture)?.slice(0, 60)}; decode the file first`,
        );
      channelsOf(picture);
    }
  }
  for (const name of ["video", "control"] as const) {
    const have = given[name]?.length;
    if (have !== undefined && have < frames)
      throw new CogwheelError(
        "generate",
        `${name} must have at least the ${frames} frames that are made, got ${have}; ask for fewer frames`,
      );
  }
  if (given.mask && given.mask.length !== 1 && given.mask.length < frames)
    throw new CogwheelError("generate", `a mask must have one frame, or the ${frames} that are made, got ${given.mask.length}`);
  if (task === "inpaint" && given.video && !given.mask)
    throw new CogwheelError("generate", "inpainting a video needs a mask, got none; white is made anew, black is kept");
}

/** Can a run of this task have so many frames? Checkpoints with patches in time pad only what begins from noise alone. */
export function checkFrames(frames: number, task: Task, rules: ModelRules): void {
  const latents = latentFrames(frames, rules.temporal);
  if (task === "text" || task === "image" || latents % rules.patchSizeT === 0) return;
  const period = rules.temporal * rules.patchSizeT;
  throw new CogwheelError(
    "generate",
    `with ${task === "inpaint" ? "a video" : `a ${task} video`} this checkpoint makes multiples of ${period} frames, ` +
      `got ${frames}; the nearest below is ${Math.max(period, Math.floor(frames / period) * period)}`,
  );
}

/** The longest video that can be made of `available` frames, up to what the settings say. */
export function framesWithin(available: number, s: Pick<Settings, "frames">, task: Task, rules: ModelRules): number {
  for (let frames = Math.min(available, s.frames); frames > 0; frames--) {
    try {
      checkFrames(frames, task, rules);
      return frames;
    } catch {
      // one fewer
    }
  }
  throw new CogwheelError("generate", `a ${task} must have at least ${2 * rules.temporal} frames for this checkpoint, got ${available}`);
}
