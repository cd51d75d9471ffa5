/** A model's thread in Node: one of `worker_threads`. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { SHARE_ENV, Worker as NodeThread, type TransferListItem } from "node:worker_threads";
import { CogwheelError } from "../base/errors.ts";
import type { Message } from "./protocol.ts";
import { START_SECONDS, type Thread } from "./thread.ts";

const SCRIPT = "cogwheel-thread.js";
/** The script lies beside the package's bundle, beside the folder of its chunks, or in a checkout in dist/. */
const PLACES = ["./", "../", "../../dist/"];
/** How long this process waits at its exit for a thread to come to an end with Dawn: work stops within a tenth of a second or so. */
const PARK_MS = 10_000;

function scriptPath(): string {
  const here: string | undefined = import.meta.url; // bundlers leave nothing of it in CommonJS
  const found = here && PLACES.map((place) => fileURLToPath(new URL(place + SCRIPT, here))).find((path) => existsSync(path));
  if (found) return found;
  throw new CogwheelError(
    "worker",
    `a model's thread runs dist/${SCRIPT} of this package, which must lie beside the package's other files, got none; ` +
      "do not bundle the package into one file, or open the model with CogVideoX of cogwheel-webgpu itself",
    { code: "failed" },
  );
}

/** @param given must be undefined: a page has workers of its own */
export async function startThread(given: Worker | undefined): Promise<Thread> {
  if (given !== undefined)
    throw new CogwheelError("worker", "the option worker is for pages, got one in Node; leave it out", { code: "invalid-request" });
  const cells = new Int32Array(new SharedArrayBuffer(8));
  const thread = new NodeThread(scriptPath(), {
    // What an adapter needs is in the environment, where its driver looks for it.
    env: SHARE_ENV,
    execArgv: ["--no-warnings"],
    workerData: cells,
  });
  let heard: ((message: Message) => void) | undefined;
  let died: ((got: string) => void) | undefined;
  // A thread that is ended while it waits for Dawn, or is in one of Dawn's calls, takes the process with it.
  const park = (): void => {
    post({ type: "news", name: "park", args: [] }, []);
    Atomics.wait(cells, 0, 0, PARK_MS);
  };
  const ended = new Promise<void>((resolve) =>
    thread.once("exit", (code) => {
      process.off("exit", park);
      died?.(`exit code ${code}`);
      resolve();
    }),
  );
  const post: Thread["port"]["post"] = (message, transfer) => thread.postMessage(message, transfer as readonly TransferListItem[]);
  process.on("exit", park);
  await new Promise<void>((resolve, reject) => {
    const fail = (got: string): void => {
      void thread.terminate(); // Dawn is not loaded yet
      reject(new CogwheelError("worker", `the model's thread must start, got ${got}; install the package anew`, { code: "failed" }));
    };
    const timer = setTimeout(() => fail(`no answer within ${START_SECONDS} s`), 1000 * START_SECONDS);
    died = (got) => {
      clearTimeout(timer);
      fail(got);
    };
    thread.on("message", (message: Message) => {
      if (message.type !== "hello") return heard?.(message);
      clearTimeout(timer);
      resolve();
    });
    thread.on("error", (error) => died?.(error.message));
    post({ type: "hello" }, []);
  });
  died = undefined;
  thread.unref();
  return {
    port: { post, hear: (hears) => (heard = hears) },
    hold: (held) => thread[held ? "ref" : "unref"](),
    onDeath: (hears) => (died = hears),
    async end() {
      died = undefined;
      thread.ref();
      post({ type: "news", name: "end", args: [] }, []);
      await ended;
    },
  };
}
