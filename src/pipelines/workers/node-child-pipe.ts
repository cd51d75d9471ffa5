/**
 * A worker process's end of the pipe to the process that started it, on descriptor 3: messages and regions of other workers come, results
 * go. The process ends with the pipe.
 */
import { Socket } from "node:net";
import { CogwheelError } from "../../base/errors.ts";
import { Board, type Peer } from "../../models/vae/split/peer.ts";
import { encodeHead, PipeReader } from "../../video/sandbox/node-pipe.ts";
import { MOST_BYTES } from "./types.ts";

const pipe = new Socket({ fd: 3, readable: true, writable: true });
pipe.on("error", () => process.exit(1));
pipe.on("close", () => process.exit(0));

/** Sends a message, and the bytes that follow it. */
export function send(message: object, parts: readonly Uint8Array[] = []): void {
  const bytes = parts.reduce((n, { byteLength }) => n + byteLength, 0);
  pipe.write(encodeHead(message, bytes));
  for (const part of parts) if (part.byteLength) pipe.write(part);
}

/** Tells of an error, and ends: whoever started this process ends the others. */
export function fail(error: unknown): void {
  const message = error instanceof CogwheelError ? error.message : `${(error as Error)?.stack ?? error}`;
  pipe.write(encodeHead({ type: "error", message: message.slice(0, 8000) }, 0), () => process.exit(1));
}

/** What comes, one after another; the process ends where nothing comes any more. @param room whose error it is where that is cut off */
export async function* received<Message>(room: string): AsyncGenerator<{ message: Message; bytes: Uint8Array<ArrayBuffer> }, void, void> {
  const reader = new PipeReader(pipe, () => undefined);
  for (;;) {
    const got = await reader.next(MOST_BYTES, (what) => new CogwheelError(room, `a worker must be told its work, got ${what}`));
    if (!got) process.exit(0);
    yield { message: got.message as Message, bytes: got.bytes as Uint8Array<ArrayBuffer> };
  }
}

/** Regions that came and wait for whoever reads them. */
export class Regions {
  readonly #board = new Board();

  put(from: number, region: string, bytes: Uint8Array<ArrayBuffer>): void {
    this.#board.put(`${from} ${region}`, bytes);
  }

  /** Worker `index` of `count` among the others, which are reached over the pipe. */
  peer(index: number, count: number): Peer {
    return {
      index,
      count,
      put: (to, region, bytes) => (to === index ? this.put(index, region, bytes) : send({ type: "put", to, region }, [bytes])),
      get: (from, region, signal) => this.#board.get(`${from} ${region}`, signal),
    };
  }
}
