/** How messages go through a pipe: the lengths of a line of JSON and of what follows it, then both. */
import type { Readable } from "node:stream";
import type { MediaRequest } from "./types.ts";

/** Asks for a file; its bytes follow where no path is given. */
export interface ToReader extends MediaRequest {
  path?: string;
}

export const HEAD_BYTES = 12;
/** The longest JSON that is believed. */
const MOST_JSON = 65536;

export interface Head {
  json: number;
  bytes: number;
}

/** The head of a message and its JSON. */
export function encodeHead(message: object, bytes: number): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(message));
  const out = new Uint8Array(HEAD_BYTES + json.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, json.length, true);
  view.setFloat64(4, bytes, true);
  out.set(json, HEAD_BYTES);
  return out;
}

export function readHead(head: Uint8Array): Head {
  const view = new DataView(head.buffer, head.byteOffset);
  return { json: view.getUint32(0, true), bytes: view.getFloat64(4, true) };
}

/** Takes messages from a stream; `undefined` when it ended or broke. The stream is read no further than is asked for. */
export class PipeReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #ahead: () => void;
  #rest: Uint8Array = new Uint8Array();

  /** @param ahead called whenever something came */
  constructor(stream: Readable, ahead: () => void) {
    this.#chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    this.#ahead = ahead;
  }

  /** The next message; throws what `refuse` makes of one that is larger than it may be, or than there is memory. */
  async next(mostBytes: number, refuse: (what: string) => Error): Promise<{ message: unknown; bytes: Uint8Array } | undefined> {
    const head = await this.#take(new Uint8Array(HEAD_BYTES));
    if (!head) return undefined;
    const { json, bytes } = readHead(head);
    if (json > MOST_JSON || !(bytes >= 0 && bytes <= mostBytes && Number.isInteger(bytes)))
      throw refuse(`${json} and ${bytes} bytes at once`);
    const text = await this.#take(new Uint8Array(json));
    if (!text) return undefined;
    let room: Uint8Array;
    try {
      room = new Uint8Array(bytes);
    } catch {
      throw refuse(`${bytes} bytes, for which there is no memory`);
    }
    const data = await this.#take(room);
    if (!data) return undefined;
    try {
      return { message: JSON.parse(new TextDecoder().decode(text)), bytes: data };
    } catch {
      throw refuse("no JSON");
    }
  }

  /** Fills `out`. */
  async #take(out: Uint8Array): Promise<Uint8Array | undefined> {
    for (let at = 0; at < out.length; ) {
      if (this.#rest.length === 0) {
        const { done, value } = await this.#chunks.next().catch(() => ({ done: true as const, value: undefined })); // the pipe broke
        if (done) return undefined;
        this.#ahead();
        this.#rest = value;
      }
      const part = this.#rest.subarray(0, out.length - at);
      out.set(part, at);
      at += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return out;
  }
}
