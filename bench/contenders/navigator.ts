/**
 * Engines that are written for browsers find WebGPU at `navigator.gpu`; here it is the very adapter that this engine uses. They wait
 * by this engine's wait too: a promise of Dawn's that is left pending in Node takes a core, which would be held against them.
 */
import { requestGpuAdapter, waitForGpu } from "#platform";
import type { RunClock } from "../measure/clock.ts";

export async function offerNavigator(): Promise<string> {
  const request = process.env["COGWHEEL_ADAPTER"] ? { adapter: process.env["COGWHEEL_ADAPTER"] } : {};
  const { name, languageFeatures } = await requestGpuAdapter(request);
  const gpu = {
    requestAdapter: async () => (await requestGpuAdapter(request)).adapter,
    getPreferredCanvasFormat: () => "bgra8unorm",
    wgslLanguageFeatures: languageFeatures,
  };
  Object.defineProperty(globalThis, "navigator", { value: { gpu, userAgent: "node" }, configurable: true });
  return name;
}

/** Milliseconds of `runs` calls of `submit`, each until the queue is empty. */
export async function timeRuns(runs: number, device: () => GPUDevice, submit: () => void, clock: RunClock): Promise<number[]> {
  const ms: number[] = [];
  for (let i = 0; i < runs; i++) ms.push(await clock.time(submit, (predicted) => waitForGpu(device(), predicted)));
  return ms;
}
