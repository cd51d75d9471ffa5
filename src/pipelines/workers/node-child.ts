/**
 * The program of a worker process: opens a checkpoint's VAE on a device of its own, then takes piece after piece on descriptor 3. It ends
 * with the process that started it, of whose end the pipe tells.
 */
import { Socket } from "node:net";
import { CogwheelError } from "../../base/errors.ts";
import { runPiece } from "../../models/vae/split/clip.ts";
import { Board, type Peer } from "../../models/vae/split/peer.ts";
import { shareOf } from "../../models/vae/split/share.ts";
import { encodeHead, PipeReader } from "../../video/sandbox/node-pipe.ts";
import { VideoVae, type OpenVaeOptions } from "../video-vae.ts";
import { type FromPieceWorker, MOST_BYTES, type PieceJob, type ToPieceWorker, type WorkerOpening } from "./types.ts";

/** Reports of progress, so many at most in a piece. */
const REPORTS = 200;

const pipe = new Socket({ fd: 3, readable: true, writable: true });
pipe.on("error", () => process.exit(1));
pipe.on("close", () => process.exit(0));

function send(message: FromPieceWorker, bytes: Uint8Array = new Uint8Array()): void {
  pipe.write(encodeHead(message, bytes.byteLength));
  if (bytes.byteLength) pipe.write(bytes);
}

/** Tells of an error, and ends: whoever started this process ends the others. */
function fail(error: unknown): void {
  const message = error instanceof CogwheelError ? error.message : `${(error as Error)?.stack ?? error}`;
  const bytes = encodeHead({ type: "error", message: message.slice(0, 8000) } satisfies FromPieceWorker, 0);
  pipe.write(bytes, () => process.exit(1));
}

async function work(vae: VideoVae, job: PieceJob, x: Uint8Array<ArrayBuffer>, board: Board): Promise<void> {
  const { clip, index, workers } = job;
  const named = (from: number, region: string): string => `${from} ${region}`;
  const peer: Peer = {
    index,
    count: workers,
    put: (to, region, bytes) => (to === index ? board.put(named(index, region), bytes) : send({ type: "put", to, region }, bytes)),
    get: (from, region, signal) => board.get(named(from, region), signal),
  };
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
      output: (part, bytes, shape) => send({ type: "part", part, shape }, new Uint8Array(bytes)),
    },
    {
      checkFinite: job.checkFinite,
      onProgress(done) {
        if (done < told + 1 / REPORTS && done < 1) return;
        told = done;
        send({ type: "progress", done });
      },
    },
  );
  send({ type: "done", report });
}

async function serve(): Promise<void> {
  const reader = new PipeReader(pipe, () => undefined);
  let vae: VideoVae | undefined;
  let board = new Board();
  for (;;) {
    const got = await reader.next(MOST_BYTES, (what) => new CogwheelError("vae", `a worker must be told its work, got ${what}`));
    if (!got) process.exit(0);
    const message = got.message as ToPieceWorker;
    const bytes = got.bytes as Uint8Array<ArrayBuffer>;
    if (message.type === "open") {
      const onWarning = (text: string): void => send({ type: "warning", text });
      const { from, options } = JSON.parse(new TextDecoder().decode(bytes)) as WorkerOpening;
      vae = await VideoVae.open(from, { ...(options as OpenVaeOptions), onWarning });
      send({ type: "ready" });
    } else if (message.type === "region") board.put(`${message.from} ${message.region}`, bytes);
    else {
      // Regions come after the piece that they are for.
      board = new Board();
      work(vae!, message, bytes, board).catch(fail);
    }
  }
}

serve().catch(fail);
