/** A server at some distance: what is asked of it is counted, and answered a moment later by another one. */
import { createServer, request as ask } from "node:http";
import type { AddressInfo } from "node:net";

export interface DelayedServer extends AsyncDisposable {
  readonly url: string;
  /** Paths that were asked for, in order. */
  readonly asked: string[];
  /** Of the bodies of all answers, as they were sent. */
  readonly bytes: number;
}

/** @param url whose answers they are @param milliseconds that each takes more */
export async function delayed(url: string, milliseconds: number): Promise<DelayedServer> {
  const asked: string[] = [];
  let bytes = 0;
  const server = createServer((request, response) => {
    asked.push(request.url!);
    const passed = ask(new URL(request.url!, url), { method: request.method!, headers: request.headers }, (answer) => {
      setTimeout(() => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.on("data", (part: Uint8Array) => {
          bytes += part.length;
        });
        answer.pipe(response);
      }, milliseconds);
    });
    passed.on("error", () => response.destroy());
    request.pipe(passed);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    asked,
    get bytes() {
      return bytes;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
