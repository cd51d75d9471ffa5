/** What a generation will take of this GPU: its memory, and where that was measured, its time. */
import { measureRates, type CogVideoX, type GenerateOptions, type MeasuredRates } from "../src/index.ts";
import type { Plan, Say } from "./protocol.ts";

/** How fast the model runs here, which takes some seconds to measure. */
export const ratesOf = (model: CogVideoX, signal: AbortSignal, say: Say): Promise<MeasuredRates> =>
  measureRates(model, {
    signal,
    onProgress: (done, detail) => say({ type: "progress", stage: "measure this GPU", done, detail, memory: model.gpu.memory.allocated }),
  });

export function planOf(model: CogVideoX, options: Partial<GenerateOptions>, rates?: MeasuredRates): Plan {
  const advice = options.prompt === undefined ? undefined : model.promptAdvice(options.prompt);
  const plan = { bytes: Math.max(...model.requirements(options).map(({ total }) => total)), ...(advice ? { advice } : {}) };
  if (!rates) return plan;
  const times = model.times(rates, options).map(({ stage, loadSeconds = 0, pipelineSeconds, workSeconds }) => ({
    stage,
    seconds: loadSeconds + pipelineSeconds + workSeconds,
  }));
  return { ...plan, times };
}
