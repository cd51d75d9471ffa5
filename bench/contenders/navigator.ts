/**
 * Engines that are written for browsers find WebGPU at `navigator.gpu`; here it is the very adapter that this engine uses. They wait
 * by this engine's wait too: a promise of Dawn's that is left pending in Node takes a core, which would be held against them.
 */
import { requestGpuAdapter, waitForGpu } from "#platform";

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

/** Milliseconds of `runs` calls of `submit`, each until the queue is empty; the last time predicts the next wait. */
export async function timeRuns(runs: number, queue: () => GPUQueue, submit: () => void, state: { lastMs: number }): Promise<number[]> {
  const ms: number[] = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    submit();
    await waitForGpu(queue(), Math.max(0, state.lastMs - (performance.now() - start)));
    ms.push((state.lastMs = performance.now() - start));
  }
  return ms;
}
