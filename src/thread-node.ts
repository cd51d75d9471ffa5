/** The script of a model's thread in Node. */
import { parentPort, workerData, type TransferListItem } from "node:worker_threads";
import type { Message } from "./thread/protocol.ts";
import { serve } from "./thread/serve.ts";

const parent = parentPort!;
const cells = workerData as Int32Array;

/** Leaves Dawn alone until the end of the process, which aborts where one of Dawn's promises is still open. */
async function park(): Promise<void> {
  await close().catch(() => undefined);
  Atomics.store(cells, 0, 1);
  Atomics.notify(cells, 0);
  Atomics.wait(cells, 1, 0);
}

const close = serve(
  {
    post: (message, transfer) => parent.postMessage(message, transfer as readonly TransferListItem[]),
    hear: (heard) =>
      parent.on("message", (message: Message) => {
        if (message.type === "hello") parent.postMessage({ type: "hello" } satisfies Message);
        else if (message.type !== "news") heard(message);
        else if (message.name === "park") void park();
        else process.exit(0); // of this thread
      }),
  },
  () => import("./index.ts"),
);
