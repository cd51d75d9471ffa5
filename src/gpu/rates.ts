/**
 * How fast an adapter is, as a probe measured it: what is needed to say how long work will take before it begins. It is data, kept as JSON
 * beside the table of measured kernels (tuning-table.ts), and holds for the same adapter, driver and kernels.
 */
import { namedTuning, readTuning, writeTuning } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import { isObject, parseJsonObject } from "../base/json-scan.ts";
import { tuningFile, whyStale, type TuningHeader } from "./tuning-table.ts";

/** A dispatch of a kernel that was measured: its operations, its bytes, and the seconds that it took. */
export interface KernelRate {
  readonly flops: number;
  readonly bytes: number;
  readonly seconds: number;
  /** The shape of the largest weight that it read, if any: some widths suit a kernel better than others. */
  readonly weight?: string;
}

/** What a pipeline takes once in a process. */
export interface FirstRate {
  /** Seconds to make it, of whose kernel the driver has kept what it compiled: it does so from process to process. */
  readonly pipelineSeconds: number;
  /** Seconds that its first dispatch takes besides: some drivers compile only then. */
  readonly firstRunSeconds: number;
}

export interface Rates extends FirstRate {
  /** By the label of the specialised kernel: dispatches of several sizes, for little work is done at another rate than much. */
  readonly kernels: Readonly<Record<string, readonly KernelRate[]>>;
  /** Seconds that a dispatch takes beside its work. */
  readonly dispatchSeconds: number;
  /** Seconds that a run takes beside its dispatches: until the host has read what came out. */
  readonly runSeconds: number;
  /** Seconds to bind a dispatch of a program, when its pipelines are there. */
  readonly bindSeconds: number;
  /** What a pipeline takes once, by the label of its kernel; of others what is said here besides, the mean. */
  readonly first: Readonly<Record<string, FirstRate>>;
  /** The probe was ended by its time before it had measured all of it. */
  readonly rough?: boolean;
}

/** How fast weights come, from where they are stored to where kernels read them. */
export interface LoadRate {
  /** Seconds of a load beside its weights. */
  readonly fixedSeconds: number;
  readonly bytesPerSecond: number;
  /** Seconds of each weight beside its bytes. */
  readonly weightSeconds: number;
}

/** What was measured where a model runs. */
export interface MeasuredRates extends Rates {
  /** How fast the weights of each part come; nothing of parts of which nobody has measured it. */
  readonly loading: Readonly<Record<string, LoadRate>>;
}

/** Where they lie: beside the table of measurements of the same adapter. */
const ratesFile = (header: TuningHeader): string => tuningFile(header).replace(/\.json$/, ".rates.json");

/** What probes have measured on one adapter. */
export interface KeptRates {
  /** By what stands for a model's kernels: the same kernel is not as fast at every width. */
  readonly models: Readonly<Record<string, Rates>>;
  /** By the name of a model's source, and by the part that weights are of. */
  readonly loading: Readonly<Record<string, Readonly<Record<string, LoadRate>>>>;
}

const NONE: KeptRates = { models: {}, loading: {} };

/** The rates that were kept for this device: none where they do not hold here. */
export async function findRates(here: TuningHeader): Promise<KeptRates> {
  try {
    const found = await readTuning(ratesFile(here));
    if (!found) return NONE;
    const { models, loading, ...header } = parseJsonObject(found.text, (rule) => new CogwheelError("rates", `a table of rates ${rule}`));
    // Not a word of what is broken or old: a probe of some seconds makes them again.
    if (!isHeader(header) || whyStale({ ...header, choices: {} }, here) !== undefined || !isObject(models) || !isObject(loading))
      return NONE;
    const known = <T>(record: Record<string, unknown>, is: (value: unknown) => value is T): Record<string, T> =>
      Object.fromEntries(Object.entries(record).filter((entry): entry is [string, T] => is(entry[1])));
    return { models: known(models, isRates), loading: known(loading, isLoading) };
  } catch (error) {
    if (!(error instanceof CogwheelError)) throw error;
    return NONE;
  }
}

/**
 * Of one model, what was kept; undefined where nothing was, or the user wants no measurements. @param key what stands for its kernels
 * @param label of its source
 */
export async function keptRates(here: TuningHeader, key: string, label: string): Promise<MeasuredRates | undefined> {
  if ((await namedTuning()) === "off") return undefined;
  const { models, loading } = await findRates(here);
  const rates = models[key];
  return rates && { ...rates, loading: loading[loadingKey(key, label)] ?? {} };
}

/** Under which name the rates of loading are kept. */
export const loadingKey = (key: string, label: string): string => `${key} ${label}`;

/** Keeps rates for this device, with those of other models; resolves to where. */
export async function storeRates(header: TuningHeader, { models, loading }: KeptRates): Promise<string> {
  const before = await findRates(header);
  const kept: KeptRates = { models: { ...before.models, ...models }, loading: { ...before.loading, ...loading } };
  return await writeTuning(ratesFile(header), `${JSON.stringify({ ...header, ...kept }, null, 1)}\n`);
}

const isAmount = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value) && value >= 0;

const isHeader = (value: Record<string, unknown>): value is Record<string, unknown> & TuningHeader =>
  isObject(value["adapter"]) && ["driver", "capabilities", "kernels"].every((key) => typeof value[key] === "string");

/** Are these rates as they are kept now? Those of an older engine may lack some. */
export const isMeasured = (value: unknown): value is MeasuredRates => isRates(value) && "loading" in value && isLoading(value.loading);

const isFirst = (value: unknown): value is FirstRate =>
  isObject(value) && ["pipelineSeconds", "firstRunSeconds"].every((key) => isAmount(value[key]));

const isRates = (value: unknown): value is Rates =>
  isFirst(value) &&
  isObject(value) &&
  ["dispatchSeconds", "runSeconds", "bindSeconds"].every((key) => isAmount(value[key])) &&
  isObject(value["first"]) &&
  Object.values(value["first"]).every(isFirst) &&
  isObject(value["kernels"]) &&
  Object.values(value["kernels"]).every(
    (dispatches) => Array.isArray(dispatches) && dispatches.length > 0 && dispatches.every(isKernelRate),
  );

const isKernelRate = (value: unknown): value is KernelRate =>
  isObject(value) &&
  isAmount(value["flops"]) &&
  isAmount(value["bytes"]) &&
  isAmount(value["seconds"]) &&
  value["seconds"] > 0 &&
  ["string", "undefined"].includes(typeof value["weight"]);

const isLoading = (value: unknown): value is Readonly<Record<string, LoadRate>> =>
  isObject(value) &&
  Object.values(value).every(
    (rate) =>
      isObject(rate) &&
      ["fixedSeconds", "weightSeconds", "bytesPerSecond"].every((key) => isAmount(rate[key])) &&
      rate["bytesPerSecond"] !== 0,
  );
