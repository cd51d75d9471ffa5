/** The config of `cogwheel data`: a file, or a folder of videos for which everything is as it is by default, and flags over either. */
import { open, stat } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { parseJsonObject } from "../../base/json-scan.ts";
import type { DetectorName } from "../../curation/cuts/detect.ts";
import type { CurationOptions } from "../../curation/curate-node.ts";
import type { CutOptions, SelectOptions } from "../../curation/options.ts";
import { readInput } from "../files.ts";
import { checkDataKeys } from "./keys.ts";
import { transNetDetectors } from "./transnet-choice.ts";

/** Flags that are keys of the config. */
export interface DataFlags {
  readonly out?: string;
  readonly jobs?: number;
  readonly frames?: number;
  readonly fps?: number;
  readonly where?: string;
  readonly detectors?: readonly DetectorName[];
  /** Path of the weights of the detector `transnet`. */
  readonly transnet?: string;
  readonly json?: boolean;
  /** Of the measures. */
  readonly text?: boolean;
  /** Of the label stage. */
  readonly labelUrl?: string;
  readonly labelModel?: string;
  /** Of the caption stage. */
  readonly url?: string;
  readonly model?: string;
  readonly tokenizer?: string;
  readonly maxCost?: number;
  readonly maxRequests?: number;
  readonly equalCaptions?: boolean;
}

export interface DataConfig extends Pick<CurationOptions, "videos" | "out" | "jobs"> {
  readonly cut: Partial<CutOptions>;
  /** Path of the weights of the detector `transnet`. */
  readonly transnet?: string;
  readonly select: Partial<SelectOptions>;
  /** What stands under each stage's name, checked. */
  readonly stages: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

const MOST_BYTES = 2 ** 20;

/** @param from CONFIG.json, or a folder of videos */
export async function readDataConfig(from: string, flags: DataFlags): Promise<DataConfig> {
  const facts = await stat(from).catch(() => undefined);
  if (!facts)
    throw new CogwheelError("data", `the first argument must be a config or a folder of videos, got none at ${from}; check the path`);
  if (facts.isFile() && !(await beginsAsJson(from)))
    throw new CogwheelError(
      "data",
      `the first argument must be a config or a folder of videos, got a file that is neither: ${from}; name its folder`,
    );
  const told: Record<string, unknown> = facts.isDirectory() ? { videos: from } : await readFileOf(from);
  checkDataKeys(told, from);
  const { out, jobs, frames, fps, where, detectors, transnet, text, labelUrl, labelModel } = flags;
  const { url, model, tokenizer, maxCost, maxRequests, equalCaptions } = flags;
  const given = (values: Record<string, unknown>): Record<string, unknown> =>
    Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  const own = { ...told, ...given({ out, jobs }) };
  const cut = { ...(told["cut"] as object | undefined), ...given({ frames, fps, detectors, transnet }) };
  const filter = { ...(told["filter"] as object | undefined), ...given({ where }) };
  const caption = { ...(told["caption"] as object | undefined), ...given({ url, model, tokenizer, maxCost, maxRequests, equalCaptions }) };
  const measure = { ...(told["measure"] as object | undefined), ...given({ text }) };
  const label = { ...(told["label"] as object | undefined), ...given({ url: labelUrl, model: labelModel, maxCost, maxRequests }) };
  checkDataKeys({ ...given({ out, jobs }), cut, measure, filter, label, caption }, "the command line");
  for (const name of ["videos", "out"] as const)
    if (own[name] === undefined)
      throw new CogwheelError(
        "data",
        `${name} must be given, got none; name a folder ${name === "out" ? "with --out, or " : ""}in the config`,
      );
  const stages = Object.fromEntries(Object.entries(told).filter(([, value]) => typeof value === "object")) as DataConfig["stages"];
  const { transnet: weights, ...cutting } = cut as Partial<CutOptions> & { transnet?: string };
  const chosen = transNetDetectors({ transnet: weights, detectors: cutting.detectors });
  return {
    videos: own["videos"] as string,
    out: own["out"] as string,
    ...(own["jobs"] === undefined ? {} : { jobs: own["jobs"] as number }),
    cut: chosen ? { ...cutting, detectors: chosen } : cutting,
    ...(weights === undefined ? {} : { transnet: weights }),
    select: filter as Partial<SelectOptions>,
    stages: { ...stages, cut, measure, filter, label, caption },
  };
}

/** A film is named as what it is, not by what of JSON it lacks. */
async function beginsAsJson(path: string): Promise<boolean> {
  await using file = await open(path);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(256), 0, 256, 0);
  return /^(\xef\xbb\xbf)?\s*([{["]|$)/.test(buffer.toString("latin1", 0, bytesRead));
}

async function readFileOf(file: string): Promise<Record<string, unknown>> {
  const text = new TextDecoder().decode(await readInput(file, { limit: MOST_BYTES })).replace(/^\uFEFF/, "");
  const told = parseJsonObject(
    text,
    (rule, cause) => new CogwheelError("data", `${file} ${rule}; correct it`, cause === undefined ? {} : { cause }),
  );
  checkDataKeys(told, file);
  // Paths in the file are told from where it lies.
  for (const name of ["videos", "out"]) {
    const path = told[name] as string | undefined;
    if (path !== undefined && !isAbsolute(path)) told[name] = join(dirname(file), path);
  }
  const measure = told["measure"] as { textModel?: string } | undefined;
  if (measure?.textModel !== undefined && !isAbsolute(measure.textModel)) measure.textModel = join(dirname(file), measure.textModel);
  const label = told["label"] as { instructions?: string } | undefined;
  if (label?.instructions !== undefined && !isAbsolute(label.instructions)) label.instructions = join(dirname(file), label.instructions);
  const cut = told["cut"] as { transnet?: string } | undefined;
  if (cut?.transnet !== undefined && !isAbsolute(cut.transnet)) cut.transnet = join(dirname(file), cut.transnet);
  const caption = told["caption"] as { rules?: string; tokenizer?: string } | undefined;
  if (caption?.rules !== undefined && !isAbsolute(caption.rules)) caption.rules = join(dirname(file), caption.rules);
  if (caption?.tokenizer !== undefined && /^\.{1,2}(?:[\\/]|$)/.test(caption.tokenizer))
    caption.tokenizer = join(dirname(file), caption.tokenizer);
  return told;
}
