/** What a generation will take of this GPU: its memory, and where that was measured, its time. */
import { isMeasured } from "../src/gpu/rates.ts";
import { digest } from "../src/gpu/tuning-table.ts";
import { measureRates, type CogVideoX, type GenerateOptions, type MeasuredRates } from "../src/index.ts";
import { stageSeconds } from "../src/pipelines/cogvideox/seconds.ts";
import type { Plan, Say } from "./protocol.ts";

/** How fast the model runs here, which takes some seconds to measure. */
export const ratesOf = (model: CogVideoX, signal: AbortSignal, say: Say): Promise<MeasuredRates> =>
  measureRates(model, {
    signal,
    onProgress: (done, detail) => say({ type: "progress", stage: "measure this GPU", done, detail, memory: model.gpu.memory.allocated }),
  });

const CACHE = "cogwheel-rates";

/** Rates hold for an adapter, its driver and the kernels of this page. @param key what else they are of */
const placeOf = ({ gpu }: CogVideoX, key: string): URL =>
  new URL(`rates/${digest(JSON.stringify([gpu.tuningHeader, key]))}`, self.location.href);

/** What was measured at an earlier visit. */
export async function keptRates(model: CogVideoX, key: string): Promise<MeasuredRates | undefined> {
  try {
    const found = await (await caches.open(CACHE)).match(placeOf(model, key));
    const rates: unknown = await found?.json();
    return isMeasured(rates) ? rates : undefined;
  } catch {
    return undefined; // where a browser keeps nothing, it is measured each time
  }
}

export async function keepRates(model: CogVideoX, key: string, rates: MeasuredRates): Promise<void> {
  try {
    await (await caches.open(CACHE)).put(placeOf(model, key), Response.json(rates));
  } catch {
    // The next visit measures again.
  }
}

export function planOf(model: CogVideoX, options: Partial<GenerateOptions>, rates?: MeasuredRates): Plan {
  const advice = options.prompt === undefined ? undefined : model.promptAdvice(options.prompt);
  const plan = { bytes: Math.max(...model.requirements(options).map(({ total }) => total)), ...(advice ? { advice } : {}) };
  if (!rates) return plan;
  const times = model.times(rates, options).map((time) => ({ stage: time.stage, seconds: stageSeconds(time) }));
  return { ...plan, times };
}
