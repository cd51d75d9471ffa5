/**
 * What a vision model is asked of a clip in place of seven classifiers and an aesthetic score: the CogVideoX paper's six negative labels
 * (section 3.4; it tuned a model of its own for each), watermarks, and how good it looks. One request, one JSON object.
 */
import { type JsonSchema, objectOf } from "../endpoint/schema.ts";

/** The paper's negative labels, in its order: their names here, and what each means. */
export const LABELS = {
  editing: "edited after it was filmed: effects, collages, picture in picture, cuts, overlaid graphics, animated transitions",
  unconnected: "motion that does not hang together: a slide show of stills, spliced pieces, jumps between unrelated pictures",
  low_quality: "badly filmed: blurred, very noisy, badly exposed, crushed by compression, or shaking so much that it is hard to watch",
  lecture: "somebody talks to the camera or to an audience, and little else moves: lectures, news, interviews, video calls",
  text: "text takes much of the picture: slides, documents, credits, large subtitles",
  screenshot: "a screen that was recorded or filmed: a phone, a television, a game, a desktop",
} as const;
export type LabelName = keyof typeof LABELS;
export const LABEL_NAMES = Object.keys(LABELS) as LabelName[];

/** What labels make of clips: columns of numbers. */
export interface ClipLabels {
  /** How good it looks, 1 to 10, on the scale of LAION-5B's predictor. */
  readonly aesthetic: number;
  /** How sure the model is of a watermark or a logo laid over the picture, 0 to 1. */
  readonly watermark: number;
  /** How sure it is of each label, 0 to 1. */
  readonly label: Readonly<Record<LabelName, number>>;
}

/** Columns that filters may ask for, where clips are labelled. */
export const LABEL_COLUMNS: readonly string[] = ["aesthetic", "watermark", ...LABEL_NAMES.map((name) => `label.${name}`)];

/** Rises when the same parameters give another request, or its answer other columns. */
export const LABEL_VERSION = 1;

export const LABEL_INSTRUCTIONS =
  "You judge short clips for a data set of natural, well filmed footage. You are given frames of one clip, in order of time, each with " +
  "its second. Say how sure you are, as a whole number from 0 (surely not) to 10 (surely), that each of these holds for the clip:\n" +
  Object.entries(LABELS)
    .map(([name, meaning]) => `- ${name}: ${meaning}\n`)
    .join("") +
  "- watermark: a watermark, a channel's logo or a time stamp is laid over the picture\n" +
  "And how good the clip looks, as a whole number from 1 to 10, as aesthetic: 1 is ugly or broken, 4 a careless snapshot, 5 ordinary, 6 " +
  "pleasing, 8 the work of a good photographer; its subject does not count. Judge only what can be seen. Answer with JSON alone.";

const sureness: JsonSchema = { type: "integer", minimum: 0, maximum: 10 };

/** Of the answer. */
export const LABEL_SCHEMA: { readonly name: string; readonly schema: JsonSchema } = {
  name: "labels",
  schema: objectOf({
    ...Object.fromEntries([...LABEL_NAMES, "watermark"].map((name) => [name, sureness])),
    aesthetic: { type: "integer", minimum: 1, maximum: 10 },
  }),
};

/** Columns of an answer that is of the schema. */
export function labelsOf(answer: Readonly<Record<string, number>>): ClipLabels {
  return {
    aesthetic: answer["aesthetic"]!,
    watermark: answer["watermark"]! / 10,
    label: Object.fromEntries(LABEL_NAMES.map((name) => [name, answer[name]! / 10])) as Record<LabelName, number>,
  };
}
