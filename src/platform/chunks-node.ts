/** What is at a path, piece by piece, in Node: a file, a device, or a pipe. */
import { close, constants, open as openDescriptor } from "node:fs";
import { open, stat } from "node:fs/promises";
import { Socket } from "node:net";
import { addAbortSignal } from "node:stream";
import { promisify } from "node:util";

const PIECE = 2 ** 20;

/**
 * The bytes at a path, in order, until they end, nobody takes more, or `signal` aborts. A named pipe that nobody writes to is waited
 * for without holding a thread, which would hold the end of this process.
 */
export async function* readChunks(path: string, signal?: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  signal?.throwIfAborted();
  if ((await stat(path)).isFIFO()) {
    yield* readPipe(path, signal);
    return;
  }
  const file = await open(path);
  try {
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(PIECE), 0, PIECE);
      signal?.throwIfAborted();
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    // Not by `await using`: the handles of Node before 20.4 are not disposable.
    await file.close();
  }
}

async function* readPipe(path: string, signal: AbortSignal | undefined): AsyncGenerator<Buffer, void, undefined> {
  const descriptor = await promisify(openDescriptor)(path, constants.O_RDONLY | constants.O_NONBLOCK);
  let pipe: Socket;
  try {
    pipe = new Socket({ fd: descriptor, readable: true, writable: false });
  } catch (error) {
    close(descriptor, () => {});
    throw error;
  }
  if (signal) addAbortSignal(signal, pipe);
  try {
    yield* pipe as AsyncIterable<Buffer>;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    pipe.destroy();
  }
}
