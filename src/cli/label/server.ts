/** Serves the page to label by on a loopback port, to this machine's browsers alone. */
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { systemWords } from "../../platform/system-error.ts";
import { CRITERIA, type Criterion } from "../../curation/label/confusion.ts";
import { type JudgedClips, judgementOf } from "../../curation/label/judged.ts";
import { isOwnHost } from "../../server/access.ts";
import { packageRoot } from "../package-root.ts";
import type { ClipPictures, LabelClip } from "./dataset.ts";
import { ICON, pageHtml, POLICY, STYLE } from "./html.ts";
import type { LabelResult, LabelState } from "./protocol.ts";

export interface LabelServer extends AsyncDisposable {
  /** `http://127.0.0.1:PORT/` */
  readonly url: string;
}

export interface LabelServerOptions {
  readonly dataset: string;
  readonly clips: readonly LabelClip[];
  /** Ids, in the order in which they are shown. */
  readonly sample: readonly string[];
  readonly judged: JudgedClips;
  readonly pictures: ClipPictures;
  /** 0: any free one. */
  readonly port: number;
  result(by: Criterion): LabelResult;
}

/** Of a request. */
const MOST_BYTES = 4096;
const ALWAYS = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
};

export async function serveLabels({ dataset, clips, sample, judged, pictures, port, result }: LabelServerOptions): Promise<LabelServer> {
  const byId = new Map(clips.map((clip) => [clip.id, clip]));
  const shown = sample.map((id) => byId.get(id)!);
  const script = await readFile(join(packageRoot, "dist/cogwheel-label-page.js"));
  const files: Readonly<Record<string, readonly [type: string, body: string | Uint8Array]>> = {
    "/": ["text/html; charset=utf-8", pageHtml(dataset)],
    "/icon.svg": ["image/svg+xml", ICON],
    "/label.css": ["text/css; charset=utf-8", STYLE],
    "/label.js": ["text/javascript; charset=utf-8", script],
  };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const end = (status: number, type: string, body: string | Uint8Array): void =>
      void response.writeHead(status, { ...ALWAYS, "content-type": type }).end(request.method === "HEAD" ? "" : body);
    const json = (value: unknown, status = 200): void => end(status, "application/json", JSON.stringify(value));
    const { host = "", origin } = request.headers;
    // A page elsewhere whose name was made to point here, or that sends what it cannot read the answer of.
    if (!isOwnHost(host)) return json({ error: "this machine alone" }, 403);
    const { pathname: path, searchParams } = new URL(request.url ?? "/", "http://localhost");
    if (request.method === "POST") {
      if (origin !== `http://${host}` || request.headers["content-type"] !== "application/json")
        return json({ error: "this page alone" }, 403);
      const body = await bodyOf(request);
      if (body === undefined) return json({ error: `at most ${MOST_BYTES} bytes of JSON` }, 400);
      if (path === "/undo") return json({ clip: (await judged.undo()) ?? null });
      if (path !== "/judged") return json({ error: "no such page" }, 404);
      const said = judgementOf(body);
      if ("undone" in said || !byId.has(said.clip)) return json({ error: "no such clip" }, 400);
      await judged.add(said);
      return json({});
    }
    if (request.method !== "GET" && request.method !== "HEAD") return json({ error: "GET, HEAD or POST" }, 405);
    const file = Object.hasOwn(files, path) ? files[path] : undefined;
    if (file) return end(200, ...file);
    if (path === "/state") {
      const state: LabelState = {
        clips: shown.map(({ id, name, start, end: to }) => ({ id, name, start, end: to })),
        judged: judged.all(),
      };
      return json(state);
    }
    if (path === "/result") return json(result(CRITERIA.find((one) => one === searchParams.get("by")) ?? CRITERIA[0]));
    const [, id, which] = /^\/clips\/([0-9a-f]{16})(?:\/(\d)\.jpg)?$/.exec(path) ?? [];
    const clip = id === undefined ? undefined : byId.get(id);
    if (!clip) return json({ error: "no such page" }, 404);
    const all = await pictures.of(clip);
    if (which === undefined) return json({ pictures: all.length });
    const picture = all[Number(which)];
    return picture ? end(200, "image/jpeg", picture) : json({ error: "no such picture" }, 404);
  }

  const server = createServer({ requestTimeout: 10_000, headersTimeout: 10_000 }, (request, response) => {
    answer(request, response).catch((error: unknown) => {
      if (response.headersSent) return void response.destroy();
      const known = error instanceof CogwheelError;
      response.writeHead(known ? 400 : 500, { ...ALWAYS, "content-type": "application/json" });
      response.end(JSON.stringify({ error: known ? error.message : "something went wrong" }));
    });
  });
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve)).catch((error: unknown) => {
    throw new CogwheelError("label", `port ${port} must be free to listen on, got ${systemWords(error)}; name another one with --port`, {
      code: "failed",
    });
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Undefined where it is too long, or none. */
async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > MOST_BYTES) return undefined;
    pieces.push(piece);
  }
  try {
    return JSON.parse(Buffer.concat(pieces).toString());
  } catch {
    return undefined;
  }
}
