/** A local server that speaks OpenAI's chat completions, and does to its clients what such servers do: for tests of endpoints. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A request as the server got it. */
export interface Asked {
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: any;
  /** Of completions alone, counted from 0. */
  readonly index: number;
  readonly at: number;
}

/** How a completion is answered: a text or the whole body of an answer, a status with words, silence, or otherwise. */
export type Answered =
  | string
  | { readonly status: number; readonly body?: unknown; readonly headers?: Record<string, string> }
  | { readonly whole: unknown }
  | { readonly raw: string }
  | "stall"
  | "hang up";

export interface ChatServerOptions {
  /** Answers a completion; it may take its time. */
  answer: (asked: Asked) => Answered | Promise<Answered>;
  /** What `GET /models` answers; undefined for 404. */
  models?: unknown;
  /** What llama.cpp's `GET /props` answers. */
  props?: unknown;
  /** The model that answers name. */
  model?: string | ((asked: Asked) => string);
  /** Other paths, such as those of files and jobs. */
  other?: (request: IncomingMessage, body: Buffer, response: ServerResponse) => boolean;
}

export interface ChatServer extends AsyncDisposable {
  readonly url: string;
  readonly asked: Asked[];
  /** The most completions that were under way at a time. */
  most: number;
}

/** Pages of any origin may ask. */
const CORS = { "access-control-allow-origin": "*", "access-control-allow-headers": "authorization, content-type" };

export async function chatServer({ answer, models, props, model = "tiny", other }: ChatServerOptions): Promise<ChatServer> {
  let underWay = 0;
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const bytes = Buffer.concat(pieces);
    const path = request.url!;
    const json = (value: unknown, status = 200, headers: Record<string, string> = {}): void =>
      void response.writeHead(status, { "content-type": "application/json", ...CORS, ...headers }).end(JSON.stringify(value));
    if (request.method === "OPTIONS") return void response.writeHead(204, CORS).end();
    if (other?.(request, bytes, response)) return;
    if (path.startsWith("/v1/models")) return models === undefined ? json({ error: "no such page" }, 404) : json(models);
    if (path === "/props" && props !== undefined) return json(props);
    if (!path.startsWith("/v1/chat/completions")) return json({ error: "no such page" }, 404);
    const asked: Asked = {
      path,
      headers: request.headers,
      body: JSON.parse(String(bytes)),
      index: made.asked.length,
      at: performance.now(),
    };
    made.asked.push(asked);
    made.most = Math.max(made.most, ++underWay);
    const told = await answer(asked);
    underWay--;
    if (told === "stall") return;
    if (told === "hang up") return void request.socket.destroy();
    if (typeof told === "object" && "raw" in told) return void response.writeHead(200).end(told.raw);
    if (typeof told === "object" && "status" in told)
      return json(told.body ?? { error: { message: `status ${told.status}` } }, told.status, told.headers);
    if (typeof told === "object" && "whole" in told) return json(told.whole);
    json(completion(told, typeof model === "string" ? model : model(asked)));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const made: ChatServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    asked: [],
    most: 0,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
  return made;
}

/** The body of an answer. */
export const completion = (text: string, model = "tiny"): object => ({
  id: "chatcmpl-1",
  object: "chat.completion",
  model,
  choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
  usage: { prompt_tokens: 100, completion_tokens: 20, total_tokens: 120 },
});

/** What the user said of a request: its texts, one after another. */
export function saidIn({ body }: Pick<Asked, "body">): string {
  const { content } = body.messages.at(-1) as { content: string | { text?: string }[] };
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join("\n");
}
