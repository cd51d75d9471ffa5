/**
 * Starts the worker. A module that is only ever imported when it is needed, so that every bundle has it as a chunk of its own, in a folder
 * beside the worker's script (build.mjs).
 */
import { CogwheelError } from "../base/errors.ts";
import type { Message } from "./protocol.ts";
import { START_SECONDS, type Thread } from "./thread.ts";

const notStarted = (got: string): CogwheelError =>
  new CogwheelError(
    "worker",
    `the model's worker must start, got ${got}; where a bundler leaves the package's script behind, pass a worker of the app's own that ` +
      "imports cogwheel-webgpu/worker-script as the option worker",
    { code: "failed" },
  );

/** The worker, once it says that it is there. @param given the app's own */
export async function startWorker(given: Worker | undefined): Promise<Thread> {
  let worker: Worker;
  try {
    worker = given ?? new Worker(new URL("../browser-thread.js", import.meta.url), { type: "module", name: "cogwheel" });
  } catch (error) {
    throw notStarted((error as Error).message); // forbidden by the page's policy
  }
  let heard: ((message: Message) => void) | undefined;
  let died: ((got: string) => void) | undefined;
  let ready!: () => void;
  const there = new Promise<void>((resolve, reject) => {
    ready = resolve;
    died = (got) => reject(notStarted(got));
  });
  worker.onmessage = ({ data }: MessageEvent<Message>) => (data.type === "hello" ? ready() : heard?.(data));
  worker.onerror = (event) => {
    event.preventDefault();
    died?.(event.message || "a script that cannot be loaded");
  };
  worker.onmessageerror = () => died?.("a message that cannot be read");
  const timer = setTimeout(() => died?.(`no answer within ${START_SECONDS} s`), 1000 * START_SECONDS);
  try {
    worker.postMessage({ type: "hello" } satisfies Message);
    await there;
  } catch (error) {
    worker.terminate();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  died = undefined;
  return {
    port: {
      post: (message, transfer) => worker.postMessage(message, [...transfer]),
      hear: (hears) => (heard = hears),
    },
    hold: () => undefined,
    onDeath: (hears) => (died = hears),
    end: async () => worker.terminate(),
  };
}
