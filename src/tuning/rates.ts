/** The rates that a model's times are told from: those that were kept for this adapter, else measured now and kept. */
import { namedTuning } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import { findRates, type KeptRates, loadingKey, type MeasuredRates, type Rates, storeRates } from "../gpu/rates.ts";
import type { TuningHeader } from "../gpu/tuning-table.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import { probeKernels, type ProbedModel, type ProbeOptions } from "./probe.ts";
import { probeLoading } from "./probe-loading.ts";

/** What `measureRates` measures. */
export interface RatesOptions extends ProbeOptions {
  /** Measure again what is kept. Default false. */
  again?: boolean;
  /** Read up to 130 MB of each part's weights to learn how fast they come, where that is not known. Default: from a folder, which is no network. */
  loading?: boolean;
}

/**
 * How fast this model's kernels run on its adapter, and how fast its weights come: `model.times` says with them how long a generation will
 * take, and `model.requirements` and progress tell seconds. The first call for a model takes some seconds; in Node the rates are kept for
 * this user beside the tuning table, and models that are opened later know them.
 */
export async function measureRates(model: CogVideoX, options: RatesOptions = {}): Promise<MeasuredRates> {
  const { tuningHeader: header } = model.gpu;
  const { source } = model.checkpoint;
  const { again = false, loading = source.pieceBytes !== undefined } = options;
  const key = model.probeKey;
  const label = loadingKey(key, source.label);
  const kept = await findRates(header);
  const known = again ? undefined : kept.models[key];
  const knownLoading = again ? undefined : kept.loading[label];
  const rates = known ?? (await probeKernels(model, options));
  const loadRates = knownLoading ?? (loading ? await probeLoading(model, options) : {});
  const anyLoading = Object.keys(loadRates).length > 0;
  if (!known || (!knownLoading && anyLoading))
    await keepRates(header, { models: { [key]: rates }, loading: anyLoading ? { [label]: loadRates } : {} });
  if (!known || (loading && !knownLoading)) options.onProgress?.(1, "");
  const measured = { ...rates, loading: loadRates };
  model.useRates(measured);
  return measured;
}

/** How fast the kernels of what else has some run, kept likewise; undefined where the user wants no measurements. */
export async function kernelRatesUnlessOff(model: ProbedModel, options: ProbeOptions): Promise<Rates | undefined> {
  if ((await namedTuning()) === "off") return undefined;
  const { tuningHeader: header } = model.gpu;
  const known = (await findRates(header)).models[model.probeKey];
  if (known) return known;
  const rates = await probeKernels(model, options);
  await keepRates(header, { models: { [model.probeKey]: rates }, loading: {} });
  options.onProgress?.(1, "");
  return rates;
}

/** What cannot be kept, by a page or in a folder that cannot be written, is measured again. */
export async function keepRates(header: TuningHeader, rates: KeptRates): Promise<void> {
  try {
    await storeRates(header, rates);
  } catch (error) {
    if (!(error instanceof CogwheelError)) throw error;
  }
}

/** The same for a command, which measures nothing where the user wants no measurements (COGWHEEL_TUNING=off). */
export async function ratesUnlessOff(model: CogVideoX, options: RatesOptions): Promise<MeasuredRates | undefined> {
  return (await namedTuning()) === "off" ? undefined : await measureRates(model, options);
}
