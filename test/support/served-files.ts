/** Some files, in a folder and behind a server that answers as a test wants. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";

export const FILES: Record<string, string> = {
  "model_index.json": '{"_class_name":"CogVideoXPipeline"}',
  "vae/config.json": "0123456789",
  "vae/a b#ü.txt": "odd name",
  empty: "",
};
export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

export let folder: string;
let server: Server;
export let address: string;
export type Answer = (request: IncomingMessage, response: ServerResponse, content: Uint8Array | null) => void;
/** How the server answers. */
let respond: Answer;

/** A server that honours ranges. */
export function honest(request: IncomingMessage, response: ServerResponse, content: Uint8Array | null): void {
  if (!content) return void response.writeHead(404).end("not found");
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
  if (first === undefined) return void response.writeHead(200, { "content-length": content.length }).end(content);
  if (Number(first) >= content.length) {
    return void response.writeHead(416, { "content-range": `bytes */${content.length}` }).end();
  }
  const end = Math.min(Number(last) + 1, content.length);
  response.writeHead(206, { "content-range": `bytes ${first}-${end - 1}/${content.length}`, etag: '"1"' });
  response.end(content.subarray(Number(first), end));
}

/** Answers otherwise from now on, until it is told to be honest again. */
export const answer = (how: Answer): void => {
  respond = how;
};

/** The files in a folder and behind a server. */
export function useServedFiles(): void {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "cogwheel-source-"));
    await mkdir(join(folder, "vae"));
    for (const [path, text] of Object.entries(FILES)) await writeFile(join(folder, path), text);
    server = createServer((request, response) => {
      const path = decodeURIComponent(new URL(request.url!, "http://x").pathname.slice("/model/".length));
      const text = FILES[path];
      respond(request, response, text === undefined ? null : bytesOf(text));
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model`;
    respond = honest;
  });

  afterAll(async () => {
    server.closeAllConnections();
    server.close();
    await rm(folder, { recursive: true, force: true });
  });
}
