/** `cogwheel-webgpu/worker-script`: the script of a worker that has a model. */
import type { Message } from "./thread/protocol.ts";
import { serve } from "./thread/serve.ts";

serve(
  {
    post: (message, transfer) => self.postMessage(message, { transfer: [...transfer] }),
    hear: (heard) =>
      self.addEventListener("message", ({ data }: MessageEvent<Message>) =>
        data.type === "hello" ? self.postMessage({ type: "hello" } satisfies Message) : heard(data),
      ),
  },
  () => import("./index.ts"),
);
