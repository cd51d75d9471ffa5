/** The server in Node: the calls on a port, the worker beside it, and what is done now and then. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { CogwheelError } from "../base/errors.ts";
import type { JobBackend } from "../jobs/backend.ts";
import { clockFault } from "../jobs/clock.ts";
import { JobStore } from "../jobs/store.ts";
import type { Tracing } from "../jobs/tracing.ts";
import type { ModelOffer } from "../pipelines/cogvideox/offer.ts";
import { defined } from "../pipelines/options.ts";
import { Adapters, type AdapterOptions } from "./adapters.ts";
import { createApp } from "./app.ts";
import { JobBoard } from "./board.ts";
import { forgetKeys } from "./idempotency.ts";
import { Keys } from "./keys.ts";
import { Metrics } from "./metrics.ts";
import { Roster } from "./roster.ts";
import { checkWebhook } from "./send-webhook-node.ts";
import { Webhooks } from "./webhooks-node.ts";

export interface ServerOptions {
  readonly backend: JobBackend;
  readonly offer: ModelOffer;
  readonly version: string;
  /** Default: loopback, which needs no keys. */
  readonly host?: string;
  /** Default: any free one. */
  readonly port?: number;
  /** Adapters that requests may ask for. Default: none. */
  readonly adapters?: AdapterOptions;
  /** Bytes of a request's body. Default 100 MB. */
  readonly maxUpload?: number;
  /** Jobs that may wait or be worked on. Default 1000. */
  readonly maxJobs?: number;
  /** May webhooks go to addresses of this machine and its networks? Default false. */
  readonly privateWebhooks?: boolean;
  /** Milliseconds in which a request must have come whole. Default five minutes. */
  readonly requestMs?: number;
  /** Milliseconds after which a client that takes nothing of what is sent to it is let go. Default two minutes. */
  readonly idleMs?: number;
  /** Why nothing is worked on; undefined where something is. */
  readonly trouble?: () => string | undefined;
  /** The script of the page for people; without it there is no page. */
  readonly script?: Uint8Array<ArrayBuffer>;
  /** The address of the page where a tab becomes a worker, which the page for people then links to. */
  readonly tabs?: string;
  /** Where the spans of requests go. */
  readonly tracing?: Tracing | undefined;
  readonly onWarning: (message: string) => void;
}

export interface RunningServer extends AsyncDisposable {
  /** `http://127.0.0.1:8000` */
  readonly url: string;
  /** Must a request show a key? */
  readonly locked: boolean;
}

const LOOPBACK = new Set(["127.0.0.1", "::1", "localhost"]);
const HEADERS_MS = 10_000;
const SWEEP_MS = 30_000;
/** How far its clock may be from the queue's. */
const CLOCK_MS = 10_000;
/** What nobody waits for is forgotten at every so many sweeps. */
const SELDOM = 60;
/** At a time; what comes beyond is closed at once. An idle one takes some 10 kB. */
const CONNECTIONS = 16_384;

export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const {
    backend,
    offer,
    version,
    host = "127.0.0.1",
    port = 0,
    maxUpload = 100e6,
    maxJobs = 1000,
    privateWebhooks = false,
    onWarning,
  } = options;
  const { requestMs = 300_000, idleMs = 120_000 } = options;
  const keys = new Keys(backend.values);
  const locked = (await keys.list()).length > 0;
  if (!locked && !LOOPBACK.has(host))
    throw new CogwheelError(
      "serve",
      `a server that others can reach must ask for keys, got host ${host} and no key; add one: \`cogwheel serve keys add NAME\``,
    );
  const tellClock = async (): Promise<void> => {
    const fault = await clockFault(backend, CLOCK_MS);
    if (fault !== undefined) onWarning(`[serve] ${fault}: until then it does not know which workers are there`);
  };
  await tellClock();
  const adapters = await Adapters.open(backend, offer, options.adapters ?? { files: new Map(), maxScale: 0 });
  const ended = new AbortController();
  const store = new JobStore(backend);
  const board = await JobBoard.open(store);
  const roster = await Roster.open(backend.values);
  const metrics = new Metrics(board, roster, version);
  const webhooks = new Webhooks({ backend, board, keys, allowPrivate: privateWebhooks, onWarning });
  const close = async (): Promise<void> => {
    await webhooks[Symbol.asyncDispose]();
    metrics[Symbol.dispose]();
    await Promise.all([board[Symbol.asyncDispose](), roster[Symbol.asyncDispose]()]);
  };
  const app = createApp({
    backend,
    store,
    board,
    roster,
    keys,
    metrics,
    offer,
    adapters,
    version,
    locked,
    maxUpload,
    maxJobs,
    checkWebhook: (address) => checkWebhook(address, privateWebhooks),
    trouble: options.trouble ?? (() => undefined),
    signal: ended.signal,
    tracing: options.tracing,
    onWarning,
    ...defined({ script: options.script, tabs: options.tabs }),
  });
  const server = createServer(
    {
      requestTimeout: requestMs,
      headersTimeout: Math.min(HEADERS_MS, requestMs),
      connectionsCheckingInterval: Math.min(1000, requestMs),
      keepAliveTimeout: 5000,
      maxHeaderSize: 16_384,
    },
    getRequestListener(app.fetch, { overrideGlobalObjects: false }),
  );
  server.timeout = idleMs;
  server.maxConnections = CONNECTIONS;
  try {
    await listening(server, host, port);
  } catch (error) {
    await close();
    throw error;
  }
  let sweeps = 0;
  const sweep = setInterval(() => {
    const seldom = sweeps++ % SELDOM === 0 ? [forgetKeys(backend.values), webhooks.forget()] : [];
    Promise.all([store.sweep(), tellClock(), ...seldom]).catch((error: unknown) =>
      onWarning(`[serve] the jobs could not be looked through: ${(error as Error).message}`),
    );
  }, SWEEP_MS);
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}`,
    locked,
    async [Symbol.asyncDispose]() {
      clearInterval(sweep);
      ended.abort();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      // Answers that are being sent may end.
      const late = setTimeout(() => server.closeAllConnections(), 2000);
      await closed;
      clearTimeout(late);
      await close();
    },
  };
}

async function listening(server: Server, host: string, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, host, resolve)).catch(
    (error: NodeJS.ErrnoException) => {
      throw new CogwheelError(
        "serve",
        `a server must have a port of its own, got ${error.code ?? error.message} for ${host}:${port}; choose another --port`,
        {
          cause: error,
          code: "failed",
        },
      );
    },
  );
}
