/**
 * The program of a worker process: opens a checkpoint's VAE on a device of its own, then takes piece after piece on descriptor 3. It ends
 * with the process that started it, of whose end the pipe tells.
 */
import { runPiece } from "../../models/vae/split/clip.ts";
import { shareOf } from "../../models/vae/split/share.ts";
import { VideoVae, type OpenVaeOptions } from "../video-vae.ts";
import { fail, received, Regions, send } from "./node-child-pipe.ts";
import type { FromPieceWorker, PieceJob, ToPieceWorker, WorkerOpening } from "./types.ts";

/** Reports of progress, so many at most in a piece. */
const REPORTS = 200;

const tell = (message: FromPieceWorker, bytes: Uint8Array = new Uint8Array()): void => send(message, [bytes]);

async function work(vae: VideoVae, job: PieceJob, x: Uint8Array<ArrayBuffer>, regions: Regions): Promise<void> {
  const { clip, index, workers } = job;
  const peer = regions.peer(index, workers);
  const share = shareOf(vae.config, clip, workers);
  const inputs = new Map<number, Float32Array>();
  let at = 0;
  for (const { part } of share.turns(index).flatMap(({ parts }) => parts)) {
    const count = share.inputSize(index, part);
    inputs.set(part, new Float32Array(x.buffer, at, count));
    at += 4 * count;
  }
  let told = 0;
  const report = await runPiece(
    vae.tools,
    clip,
    peer,
    {
      input: (part) => inputs.get(part)!,
      output: (part, bytes, shape) => tell({ type: "part", part, shape }, new Uint8Array(bytes)),
    },
    {
      checkFinite: job.checkFinite,
      onProgress(done) {
        if (done < told + 1 / REPORTS && done < 1) return;
        told = done;
        tell({ type: "progress", done });
      },
    },
  );
  tell({ type: "done", report });
}

async function serve(): Promise<void> {
  let vae: VideoVae | undefined;
  let regions = new Regions();
  for await (const { message, bytes } of received<ToPieceWorker>("vae")) {
    if (message.type === "open") {
      const onWarning = (text: string): void => tell({ type: "warning", text });
      const { from, options } = JSON.parse(new TextDecoder().decode(bytes)) as WorkerOpening;
      vae = await VideoVae.open(from, { ...(options as OpenVaeOptions), onWarning });
      tell({ type: "ready" });
    } else if (message.type === "region") regions.put(message.from, message.region, bytes);
    else {
      // Regions come after the piece that they are for.
      regions = new Regions();
      work(vae!, message, bytes, regions).catch(fail);
    }
  }
}

serve().catch(fail);
