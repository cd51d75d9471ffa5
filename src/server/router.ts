/** How calls are routed: who asks is let in, counted and measured, and what goes wrong is answered in OpenAI's shape. */
import { Hono, type Context } from "hono";
import { CogwheelError } from "../base/errors.ts";
import { QueueUnusable } from "../jobs/backend.ts";
import { InFlight, keyOf, refuseHost, refuseStrangers } from "./access.ts";
import { ApiError, invalid } from "./errors.ts";
import type { Key, Keys } from "./keys.ts";
import type { Metrics } from "./metrics.ts";
import type { TraceSpan, Tracing } from "../jobs/tracing.ts";
import type { Call } from "./openapi.ts";

/** A request that was let in. */
export interface Asking {
  readonly c: Context;
  readonly request: Request;
  readonly key: Key;
  /** Is given back when the answer is over. */
  readonly place: Disposable;
  /** The request's span. */
  readonly trace: TraceSpan | undefined;
}

export interface RouterOptions {
  readonly keys: Keys;
  readonly metrics: Metrics;
  /** Must a request show a key? */
  readonly locked: boolean;
  /** Where the spans of requests go. */
  readonly tracing?: Tracing | undefined;
  readonly onWarning: (message: string) => void;
}

/** Who comes without a key, where that is allowed. */
const ANYBODY: Key = { name: "anybody", digest: "", createdAt: 0, limits: {}, webhookSecret: "" };

export class Router {
  readonly app = new Hono();
  readonly #calls: Call[] = [];
  readonly #inFlight = new InFlight();

  constructor(private readonly options: RouterOptions) {
    this.app.use(async (c, next) => {
      await next();
      c.res.headers.set("x-content-type-options", "nosniff");
      c.res.headers.set("cross-origin-resource-policy", "same-origin");
      if (!c.res.headers.has("content-security-policy"))
        c.res.headers.set("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
    });
    this.app.notFound((c) => this.#unknown(c));
    this.app.onError((error) => this.#failed(error));
  }

  /** All calls, as they were routed. */
  get calls(): readonly Call[] {
    return this.#calls;
  }

  /**
   * Routes a call, and describes it.
   * @param whose the key of who asks; default: the one that the request shows
   */
  on(call: Call, answer: (asking: Asking) => Promise<Response>, whose: (c: Context) => Promise<Key> = this.#shown): void {
    this.#calls.push(call);
    this.app.on(call.method === "get" ? ["GET", "HEAD"] : [call.method.toUpperCase()], [call.path], async (c) => {
      const began = performance.now();
      const trace = this.#trace(call, c);
      const answered = () => this.#answered(call, c, trace, answer, whose);
      const response = await (trace ? trace.within(answered) : answered());
      trace?.set({ "http.response.status_code": response.status });
      trace?.end(response.status >= 500 ? new Error(`status ${response.status}`) : undefined);
      this.options.metrics.answered(c.req.method, call.path, response.status, (performance.now() - began) / 1000);
      return response;
    });
  }

  /** Until the head of the answer. Whoever asks for figures and health does so all the time: these are left out. */
  #trace({ path, open }: Call, { req }: Context): TraceSpan | undefined {
    if (open || path === "/metrics") return undefined;
    const attributes = { "http.request.method": req.method, "http.route": path };
    return this.options.tracing?.begin(`${req.method} ${path}`, { parent: req.header(), kind: "server", attributes });
  }

  /** Routes a file for browsers, which says nothing of the jobs and asks for no key. */
  page(path: string, type: string, body: string | Uint8Array<ArrayBuffer>, policy: string): void {
    this.app.get(path, (c) => {
      if (!this.options.locked) refuseHost(c.req.raw);
      const headers = {
        "content-type": type,
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
      };
      return new Response(body, { headers });
    });
  }

  async #answered(
    { open = false, problems = false }: Call,
    c: Context,
    trace: TraceSpan | undefined,
    answer: (asking: Asking) => Promise<Response>,
    whose: (c: Context) => Promise<Key>,
  ): Promise<Response> {
    const { locked } = this.options;
    const request = c.req.raw;
    let place: Disposable | undefined;
    let streams = false;
    try {
      if (!locked) refuseStrangers(request);
      const key = locked && !open ? await whose(c) : ANYBODY;
      place = this.#inFlight.enter(key);
      const response = await answer({ c, request, key, place, trace });
      streams = response.headers.get("content-type") === "text/event-stream";
      return response;
    } catch (error) {
      return this.#failed(error, problems);
    } finally {
      if (!streams) place?.[Symbol.dispose]();
    }
  }

  readonly #shown = (c: Context): Promise<Key> => keyOf(c.req.raw, this.options.keys);

  #failed(error: unknown, problem = false): Response {
    const told = this.#told(error);
    return problem ? told.problem() : told.response();
  }

  #told(error: unknown): ApiError {
    if (error instanceof ApiError) return error;
    if (error instanceof CogwheelError && error.room !== "jobs") return invalid(error.message);
    if (error instanceof QueueUnusable) {
      this.options.onWarning(`[serve] a request could not be answered: ${error.message}`);
      return new ApiError(
        503,
        "queue_unusable",
        "a job must be kept before it is answered for, got that the server's queue cannot be used at the moment, " +
          "of which its operator was told; try again later",
        { retryAfter: 10 },
      );
    }
    // What is not the client's doing is told to the operator alone.
    this.options.onWarning(`[serve] a request could not be answered: ${(error as Error)?.stack ?? String(error)}`);
    return new ApiError(
      500,
      "internal_error",
      "a request must be answered, got a fault of the server, which its operator was told of; try again",
    );
  }

  #unknown({ req: { path, method } }: Context): Response {
    const methods = this.#calls.filter((call) => matches(call.path, path)).map((call) => call.method.toUpperCase());
    if (methods.length === 0)
      return new ApiError(
        404,
        "unknown_url",
        `a path must be one that /openapi.json lists, got ${JSON.stringify(path.slice(0, 200))}`,
      ).response();
    const allow = [...new Set(methods.flatMap((one) => (one === "GET" ? ["GET", "HEAD"] : [one])))].join(", ");
    const response = new ApiError(405, "method_not_allowed", `a call of this path must be ${allow}, got ${method.slice(0, 20)}`).response();
    response.headers.set("allow", allow);
    return response;
  }
}

const matches = (pattern: string, path: string): boolean => {
  const [wanted, got] = [pattern.split("/"), path.split("/")];
  return wanted.length === got.length && wanted.every((part, at) => part.startsWith(":") || part === got[at]);
};
