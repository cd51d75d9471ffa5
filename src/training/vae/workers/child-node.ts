/**
 * The program of a worker process of a VAE's training: opens a device of its own, is given weights, and computes piece after piece on
 * descriptor 3. It ends with the process that started it, of whose end the pipe tells.
 */
import { Socket } from "node:net";
import { CogwheelError } from "../../../base/errors.ts";
import { Gpu, type OpenGpuOptions } from "../../../gpu/gpu.ts";
import { Board, type Peer } from "../../../models/vae/split/peer.ts";
import { MOST_BYTES } from "../../../pipelines/workers/types.ts";
import { encodeHead, PipeReader } from "../../../video/sandbox/node-pipe.ts";
import { PieceEngine, PieceWeights } from "./engine.ts";
import { type FromTrainingWorker, packArrays, type PieceOpening, type ToTrainingWorker, unpackArrays } from "./messages.ts";
import type { PieceWork } from "./types.ts";

const pipe = new Socket({ fd: 3, readable: true, writable: true });
pipe.on("error", () => process.exit(1));
pipe.on("close", () => process.exit(0));

function send(message: FromTrainingWorker, parts: readonly Uint8Array[] = []): void {
  pipe.write(
    encodeHead(
      message,
      parts.reduce((n, { byteLength }) => n + byteLength, 0),
    ),
  );
  for (const part of parts) if (part.byteLength) pipe.write(part);
}

/** Tells of an error, and ends: whoever started this process ends the others. */
function fail(error: unknown): void {
  const message = error instanceof CogwheelError ? error.message : `${(error as Error)?.stack ?? error}`;
  pipe.write(encodeHead({ type: "error", message: message.slice(0, 8000) }, 0), () => process.exit(1));
}

async function opened(bytes: Uint8Array) {
  const { recipe, index, workers, device } = JSON.parse(new TextDecoder().decode(bytes)) as PieceOpening;
  const gpu = await Gpu.open({ ...(device as OpenGpuOptions), onWarning: (text) => send({ type: "warning", text }) });
  const weights = new PieceWeights(gpu);
  const board = new Board();
  const named = (from: number, region: string): string => `${from} ${region}`;
  const peer: Peer = {
    index,
    count: workers,
    put: (to, region, of) => (to === index ? board.put(named(index, region), of) : send({ type: "put", to, region }, [of])),
    get: (from, region, signal) => board.get(named(from, region), signal),
  };
  const engine = new PieceEngine(recipe, weights, index);
  return {
    weights,
    region: (from: number, region: string, of: Uint8Array<ArrayBuffer>) => board.put(named(from, region), of),
    async run(work: PieceWork, of: Uint8Array<ArrayBuffer>): Promise<void> {
      const inputs = Object.fromEntries(unpackArrays(of).map(({ name, data }) => [name, data]));
      const { outputs, report, flops } = await engine.run(work, inputs, peer);
      send({ type: "result", report, flops }, packArrays([...outputs].map(([name, data]) => ({ name, data }))));
    },
  };
}

async function serve(): Promise<void> {
  const reader = new PipeReader(pipe, () => undefined);
  let worker: Awaited<ReturnType<typeof opened>> | undefined;
  for (;;) {
    const got = await reader.next(MOST_BYTES, (what) => new CogwheelError("training", `a worker must be told its work, got ${what}`));
    if (!got) process.exit(0);
    const message = got.message as ToTrainingWorker;
    const bytes = got.bytes as Uint8Array<ArrayBuffer>;
    if (message.type === "open") {
      worker = await opened(bytes);
      send({ type: "ready" });
    } else if (message.type === "weights") {
      const arrays = unpackArrays(bytes);
      await worker!.weights.give(new Map(arrays.map(({ name, data, shape, type }) => [name, { data, shape: shape!, type: type! }])));
      send({ type: "given" });
    } else if (message.type === "region") worker!.region(message.from, message.region, bytes);
    else worker!.run(message.work, bytes).catch(fail);
  }
}

serve().catch(fail);
