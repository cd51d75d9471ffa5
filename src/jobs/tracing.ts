/**
 * Spans of what becomes of a job, by OpenTelemetry's API alone: whoever runs a server or a worker brings an SDK, which says where spans go.
 * Without one, and without the package, nothing is recorded. The context of the request that made a job travels with it, so that the spans
 * of all who work on it are one trace.
 */
import type { Attributes, Context, Span } from "@opentelemetry/api";
import type { Stage } from "../pipelines/cogvideox/stage-names.ts";

type Api = typeof import("@opentelemetry/api");

/** Where copies of the API find what was registered with another of them. */
const REGISTRY: unique symbol = Symbol.for("opentelemetry.js.api.1");

/** What a trace goes on from, as the propagator writes it into headers: by W3C Trace Context `traceparent` and `tracestate`. */
export type TraceContext = Readonly<Record<string, string>>;

export interface SpanOptions {
  readonly parent?: TraceContext | undefined;
  readonly attributes?: Attributes;
  /** Does it answer a request, or take what another left in a queue? Default: neither. */
  readonly kind?: "server" | "consumer";
  /** Milliseconds since 1970. Default: now. */
  readonly from?: number | undefined;
}

export class Tracing {
  private constructor(
    private readonly api: Api,
    private readonly version: string,
  ) {}

  /** Undefined where OpenTelemetry's API is not installed. @param version of the engine */
  static async load(version: string, onWarning: (message: string) => void): Promise<Tracing | undefined> {
    const api = await import("@opentelemetry/api").catch(() => undefined);
    if (!api) return undefined;
    const registered = (globalThis as { [REGISTRY]?: { readonly version: string; readonly trace?: object } })[REGISTRY];
    // The API gives its own empty provider in place of one that was registered with an older version of it than this process finds.
    if (registered?.trace && api.trace.getTracerProvider() !== registered.trace)
      onWarning(
        "[trace] an OpenTelemetry SDK must share its version of @opentelemetry/api with this package, " +
          `got ${registered.version} and a newer one: no spans are recorded; run \`npm i @opentelemetry/api@${registered.version}\``,
      );
    return new Tracing(api, version);
  }

  begin(name: string, { parent, kind, ...options }: SpanOptions = {}): TraceSpan {
    const { context, propagation, trace, ROOT_CONTEXT, SpanKind } = this.api;
    // An SDK that has spans of its own for HTTP has read the request's headers already.
    const around = kind === "server" && trace.getSpan(context.active()) ? context.active() : undefined;
    const within = around ?? (parent ? propagation.extract(ROOT_CONTEXT, parent) : ROOT_CONTEXT);
    const kinds = { server: SpanKind.SERVER, consumer: SpanKind.CONSUMER };
    return new TraceSpan(this.api, this.version, name, within, { ...options, ...(kind ? { kind: kinds[kind] } : {}) });
  }
}

/** A span, and those below it. */
export class TraceSpan {
  readonly #span: Span;
  readonly #context: Context;

  constructor(
    private readonly api: Api,
    private readonly version: string,
    name: string,
    within: Context,
    { attributes = {}, from, kind }: Pick<SpanOptions, "attributes" | "from"> & { kind?: number },
  ) {
    const start = { attributes, ...(from === undefined ? {} : { startTime: from }), ...(kind === undefined ? {} : { kind }) };
    this.#span = api.trace.getTracer("cogwheel", version).startSpan(name, start, within);
    this.#context = api.trace.setSpan(within, this.#span);
  }

  /** A span below this one. */
  begin(name: string, options: Pick<SpanOptions, "attributes" | "from"> = {}): TraceSpan {
    return new TraceSpan(this.api, this.version, name, this.#context, options);
  }

  /** What spans elsewhere go on from; undefined where nobody records. */
  get context(): TraceContext | undefined {
    const carrier: Record<string, string> = {};
    this.api.propagation.inject(this.#context, carrier);
    return Object.keys(carrier).length ? carrier : undefined;
  }

  set(attributes: Attributes): void {
    this.#span.setAttributes(attributes);
  }

  /** Runs `work` so that what it calls, of other packages too, may find this span. */
  within<T>(work: () => T): T {
    return this.api.context.with(this.#context, work);
  }

  /** @param error with which it ended */
  end(error?: unknown): void {
    if (error !== undefined) {
      const message = error instanceof Error ? error.message : String(error);
      this.#span.recordException(error instanceof Error ? error : message);
      this.#span.setStatus({ code: this.api.SpanStatusCode.ERROR, message });
    }
    this.#span.end();
  }

  /** Runs `work` as a span below this one. */
  async during<T>(name: string, work: () => Promise<T>): Promise<T> {
    const below = this.begin(name);
    try {
      const result = await below.within(work);
      below.end();
      return result;
    } catch (error) {
      below.end(error);
      throw error;
    }
  }
}

/** The stages of a generation as spans: `hear` is its `onProgress`. */
export class StageTraces {
  readonly #open = new Map<Stage, TraceSpan>();
  #stepped = 0;

  constructor(private readonly trace: TraceSpan) {}

  readonly hear = (stage: Stage, done: number): void => {
    if (done >= 1) {
      this.#open.get(stage)?.end();
      this.#open.delete(stage);
    } else if (!this.#open.has(stage)) {
      this.#open.set(stage, this.trace.begin(stage));
      if (stage === "denoise") this.#stepped = Date.now();
    }
  };

  /** A step of denoising is done. */
  step(step: number): void {
    this.#open
      .get("denoise")
      ?.begin("denoise step", { from: this.#stepped, attributes: { "cogwheel.step": step } })
      .end();
    this.#stepped = Date.now();
  }

  /** Ends what is open: the generation failed. */
  end(error: unknown): void {
    for (const trace of this.#open.values()) trace.end(error);
    this.#open.clear();
  }
}
