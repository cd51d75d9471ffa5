/**
 * The program of a worker process of a VAE's training: opens a device of its own, is given weights, and computes piece after piece on
 * descriptor 3. It ends with the process that started it, of whose end the pipe tells.
 */
import { Gpu, type OpenGpuOptions } from "../../../gpu/gpu.ts";
import { fail, received, Regions, send } from "../../../pipelines/workers/node-child-pipe.ts";
import { PieceEngine, PieceWeights } from "./engine.ts";
import { type FromTrainingWorker, packArrays, type PieceOpening, type ToTrainingWorker, unpackArrays } from "./messages.ts";
import type { PieceWork } from "./types.ts";

const tell = (message: FromTrainingWorker, parts: readonly Uint8Array[] = []): void => send(message, parts);

async function opened(bytes: Uint8Array) {
  const { recipe, index, workers, device } = JSON.parse(new TextDecoder().decode(bytes)) as PieceOpening;
  const gpu = await Gpu.open({ ...(device as OpenGpuOptions), onWarning: (text) => tell({ type: "warning", text }) });
  const weights = new PieceWeights(gpu);
  const regions = new Regions();
  const peer = regions.peer(index, workers);
  const engine = new PieceEngine(recipe, weights, index);
  return {
    weights,
    regions,
    async run(work: PieceWork, of: Uint8Array<ArrayBuffer>): Promise<void> {
      const inputs = Object.fromEntries(unpackArrays(of).map(({ name, data }) => [name, data]));
      const { outputs, report, flops } = await engine.run(work, inputs, peer);
      tell({ type: "result", report, flops }, packArrays([...outputs].map(([name, data]) => ({ name, data }))));
    },
  };
}

async function serve(): Promise<void> {
  let worker: Awaited<ReturnType<typeof opened>> | undefined;
  for await (const { message, bytes } of received<ToTrainingWorker>("training")) {
    if (message.type === "open") {
      worker = await opened(bytes);
      tell({ type: "ready" });
    } else if (message.type === "weights") {
      const arrays = unpackArrays(bytes);
      await worker!.weights.give(new Map(arrays.map(({ name, data, shape, type }) => [name, { data, shape: shape!, type: type! }])));
      tell({ type: "given" });
    } else if (message.type === "region") worker!.regions.put(message.from, message.region, bytes);
    else worker!.run(message.work, bytes).catch(fail);
  }
}

serve().catch(fail);
