/** Waiting for the GPU in Node, where a pending promise of Dawn's keeps the main thread busy asking for news. */
import { pause } from "../base/pause.ts";

const cell = new Int32Array(new SharedArrayBuffer(4));

/**
 * Resolves when all work submitted to the queue so far is done.
 *
 * Dawn for Node polls its promises in a loop that never sleeps, which takes a core away from an adapter that runs on the CPU.
 * Measured on 2 busy cores, median of 7 batches, awaiting the promise against this function: SwiftShader 2.9 s against 2.0 s
 * (CPU time 2.9 and 1.8 s), lavapipe 3.8 s against 2.2 s (2.7 and 1.7 s). So nothing is made pending for most of the
 * predicted time; then the thread is put to sleep between two polls, each time for a small share of the time waited so far, so
 * that a wait of any length is found to be over at most 3 % too late.
 * The event loop turns between the sleeps: signals and timers are late by at most 4 ms.
 */
export async function waitForGpu(device: GPUDevice, predictedMs = 0, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const begun = performance.now();
  if (predictedMs > 4) await pause(0.8 * predictedMs, signal);
  await polled(
    device,
    device.queue.onSubmittedWorkDone().catch(() => undefined), // the device was lost, which its own promise tells
    begun,
    0,
    signal,
  );
}

/**
 * A promise of Dawn's whose end may be found a little late, such as the mapping of one of several buffers: a wait of two milliseconds
 * would else be nothing but polls.
 */
export const waitFor = <T>(device: GPUDevice, promise: Promise<T>): Promise<T> => polled(device, promise, performance.now(), 0.2);

/** Milliseconds without news after which the queue is nudged, then after as long again as the wait took so far. */
const NUDGE_MS = 500;

/** @param least milliseconds between two polls */
async function polled<T>(device: GPUDevice, promise: Promise<T>, begun: number, least: number, signal?: AbortSignal): Promise<T> {
  let over = false;
  let nudge = begun + NUDGE_MS;
  const done = (): void => void (over = true);
  promise.then(done, done);
  while (!over) {
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
    if (over) break;
    const now = performance.now();
    if (now > nudge) {
      submitNothing(device);
      nudge = now + Math.max(NUDGE_MS, now - begun);
    }
    Atomics.wait(cell, 0, 0, Math.max(least, Math.min(4, 0.03 * (now - begun))));
  }
  return promise;
}

/**
 * On lavapipe (Mesa 25.0.7), in a process that had compiled thousands of pipelines, a submission's end was sometimes told only together
 * with that of another one: the driver's threads slept, the wait had no end, and any command buffer ended it, an empty one too. Where a
 * wait is merely long this does nothing.
 */
function submitNothing(device: GPUDevice): void {
  device.queue.submit([device.createCommandEncoder({ label: "nudge" }).finish()]);
}
