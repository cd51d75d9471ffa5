/**
 * A model behind an OpenAI-compatible API (vLLM, Ollama, llama.cpp's server, LM Studio, SGLang, OpenAI …), asked by plain fetch, in Node
 * and in browsers. What a server cannot do is found out and done otherwise; what fails in passing is tried again; what it answers is
 * checked. Answers of another model than before are not taken: they would not belong together. A server that changed for good ends the run.
 */
import { CogwheelError } from "../../base/errors.ts";
import { linkedAbort } from "../../base/linked-abort.ts";
import { apiBase, below, shownAddress, type ApiBase } from "./address.ts";
import { EndpointError } from "./faults.ts";
import { Gate } from "./gate.ts";
import { bodyOf, newDialect, readReply, type ChatRequest, type Dialect, type Reply } from "./message.ts";
import { checkEndpointOptions, type EndpointOptions } from "./options.ts";
import { modelsOf, visionOfProps, type ServedModel } from "./probe.ts";
import { adapted, AGAIN, ignored, written } from "./dialect.ts";
import { jsonIn, mismatch } from "./schema.ts";
import { exchange, type Wire } from "./send.ts";
import { Account, costOf, type Usage } from "./spent.ts";

/** An answer, with what it took. */
export interface ChatAnswer extends Reply {
  /** Where a schema was asked for: what is of it. */
  readonly value?: unknown;
  readonly cost: number;
  readonly usage: Usage | undefined;
  /** From the first try to the answer. */
  readonly ms: number;
}

/** What is known of an endpoint after a look. */
export interface EndpointFacts {
  /** The model that is asked. */
  readonly model: string;
  readonly vision: boolean | undefined;
  readonly models: readonly string[];
}

/** Answers between two looks at the list of models, for servers that name what they were asked for and not what they serve. */
const LOOK_EVERY = 100;
/** Requests in a row that failed in passing or were answered by another model, after which the server, or its model, is taken for gone. */
const GONE_AFTER = 3;

export class Endpoint {
  /** Address and model, without what is secret. */
  readonly label: string;
  /** The address alone, in the same way. */
  readonly address: string;
  readonly account: Account;
  readonly #base: ApiBase;
  readonly #gate: Gate;
  readonly #wire: Wire;
  readonly #dialect: Dialect = newDialect();
  #looked: Promise<ServedModel> | undefined;
  #models: readonly string[] = [];
  #served: string | undefined;
  /** Whether that model has answered here, and answers of others in a row since. */
  #heard = false;
  #others = 0;
  #answers = 0;
  #failing = 0;
  readonly #told = new Set<string>();

  constructor(readonly options: EndpointOptions) {
    checkEndpointOptions(options);
    this.#base = apiBase(options.url);
    this.address = shownAddress(this.#base);
    this.label = `${this.address}${options.model ? ` ${options.model}` : ""}`;
    this.account = options.account ?? new Account();
    this.#gate = new Gate(options.concurrency ?? 4);
    const authorization = options.key === undefined ? this.#base.authorization : `Bearer ${options.key}`;
    this.#wire = {
      gate: this.#gate,
      label: this.label,
      tries: options.tries ?? 5,
      timeoutSeconds: options.timeoutSeconds ?? 120,
      longestWaitSeconds: options.longestWaitSeconds ?? 600,
      fetch: options.fetch,
      headers: { ...options.headers, ...(authorization === undefined ? {} : { authorization }) },
    };
  }

  /** What the endpoint says of itself. Throws where no model can be chosen. */
  async look(signal?: AbortSignal): Promise<EndpointFacts> {
    const { id, vision } = await (this.#looked ??= this.#choose(signal));
    return { model: id, vision, models: this.#models };
  }

  /** The answers that were kept of an earlier run came from this model; another is refused. */
  expectModel(served: string | undefined): void {
    if (served === undefined) return;
    this.#served ??= served;
    if (served !== this.#served) throw this.#other("endpoint", served);
  }

  /** The model that answered, as the server names it; undefined before the first answer. */
  get servedModel(): string | undefined {
    return this.#served;
  }

  /** The body of a request, as `chat` would send it: for batch files. */
  async body(request: ChatRequest, signal?: AbortSignal): Promise<Record<string, unknown>> {
    return bodyOf(request, (await this.look(signal)).model, this.#dialect, this.options.body);
  }

  /** Asks. Throws an {@link EndpointError}, or the signal's reason. */
  async chat(request: ChatRequest, given?: AbortSignal): Promise<ChatAnswer> {
    // A signal of its own for each: what waits for one signal is many requests.
    using own = linkedAbort(given);
    const { signal } = own;
    const { model, vision } = await this.look(signal);
    if (vision === false && request.parts.some((part) => "jpeg" in part))
      throw new EndpointError("endpoint", `${this.label}: the model must take pictures, got ${model} that does not; serve one that does`);
    return await this.#gate.through(async () => {
      const began = performance.now();
      const reply = await this.#reply(request, model, signal);
      if (++this.#answers % LOOK_EVERY === 0) await this.#lookAgain(signal);
      return { ...reply, ms: performance.now() - began };
    }, signal);
  }

  async #reply(request: ChatRequest, model: string, signal: AbortSignal | undefined): Promise<Omit<ChatAnswer, "ms">> {
    for (;;) {
      const sent = written(this.#dialect);
      const body = bodyOf(request, model, this.#dialect, this.options.body);
      const got = await this.#post(body, signal);
      if (!got.ok) {
        const change = adapted(this.#dialect, got.refusal, body, sent);
        if (!change) throw this.#refused(got.refusal);
        this.#tellOnce(change);
        continue;
      }
      if (request.schema) this.#dialect.proven = true;
      const reply = readReply(got.body);
      if (typeof reply === "string")
        throw new EndpointError("request", `${this.label}: the answer must be a chat completion, got ${reply}`);
      if (reply.model !== undefined) this.#expect(reply.model);
      if (!reply.usage && this.account.limits.maxCost !== undefined)
        this.#tellOnce("it counts no tokens, so no cost is known: set maxRequests");
      const cost = reply.usage ? costOf(reply.usage, this.options) : 0;
      if (!request.schema) return { ...reply, cost };
      const value = jsonIn(reply.text);
      // An object that was cut off, or thoughts that were, say nothing of what the server knows.
      const cut = reply.finish === "length" && /^$|\{/.test(reply.text);
      const passedOver = value === undefined && !cut ? ignored(this.#dialect, sent) : undefined;
      if (passedOver) {
        this.#tellOnce(passedOver);
        continue;
      }
      const wrong = value === undefined ? "the answer must hold a JSON object" : mismatch(value, request.schema.schema);
      if (wrong) throw new EndpointError("request", `${this.label}: ${wrong}, got ${JSON.stringify(reply.text.slice(0, 80))}`);
      return { ...reply, value, cost };
    }
  }

  #tellOnce(what: string): void {
    if (what === AGAIN || this.#told.has(what)) return;
    this.#told.add(what);
    this.options.onWarning?.(`[endpoint] ${this.label}: ${what}`);
  }

  /** One request, with its tries; what is spent is counted. */
  async #post(body: object, signal: AbortSignal | undefined) {
    try {
      const got = await exchange(this.#wire, below(this.#base, "chat/completions"), {
        post: JSON.stringify(body),
        headers: { "content-type": "application/json" },
        signal,
        begin: () => this.account.begin(signal),
        end: (answer) => {
          const reply = answer === undefined ? undefined : readReply(answer);
          this.account.end(typeof reply === "object" ? (reply.usage ?? { input: 0, output: 0 }) : undefined, this.options);
        },
      });
      this.#failing = 0;
      return got;
    } catch (error) {
      if (!(error instanceof EndpointError) || error.scope === "endpoint" || signal?.aborted) throw error;
      if (++this.#failing < GONE_AFTER * this.#gate.width) throw error;
      throw new EndpointError("endpoint", `${this.label} must answer, got ${this.#failing} failures in a row; see whether it runs`, {
        cause: error,
        lines: [error.message],
      });
    }
  }

  #refused({ status, words, scope }: { status: number; words: string; scope: "request" | "endpoint" }): EndpointError {
    const remedy =
      status === 401 || status === 403
        ? "give the key that it wants in the environment"
        : status === 404
          ? "look at the address (…/v1) and the model's name"
          : "look at what the server says";
    return new EndpointError(scope, `${this.label}: a request must be answered with 200, got ${status} ${words}; ${remedy}`);
  }

  /** A row of servers behind one address may have one that serves another model: what that one says is asked for again. */
  #expect(served: string): void {
    this.#served ??= served;
    if (served === this.#served) {
      this.#heard = true;
      this.#others = 0;
      return;
    }
    const gone = !this.#heard || ++this.#others >= GONE_AFTER * this.#gate.width;
    throw this.#other(gone ? "endpoint" : "request", served);
  }

  #other(scope: "request" | "endpoint", served: string): EndpointError {
    return new EndpointError(
      scope,
      `${this.label}: one model must answer all along, got ${served} after ${this.#served}; ` +
        "name the model that you want, and run again with it alone",
    );
  }

  async #list(signal: AbortSignal | undefined): Promise<ServedModel[] | undefined> {
    const got = await exchange(this.#wire, below(this.#base, "models"), { signal });
    if (got.ok) return modelsOf(got.body);
    if (got.refusal.status === 401 || got.refusal.status === 403) throw this.#refused(got.refusal);
    return undefined; // some serve completions alone
  }

  async #choose(signal: AbortSignal | undefined): Promise<ServedModel> {
    try {
      const list = await this.#list(signal);
      this.#models = list?.map(({ id }) => id) ?? [];
      const { model } = this.options;
      const shown = this.#models.slice(0, 20).join(", ");
      if (model === undefined && list?.length !== 1)
        throw new CogwheelError(
          "endpoint",
          `${this.label}: the model must be named where not exactly one is served, ` +
            `got ${list ? `${list.length} (${shown})` : "no list"}; name one`,
        );
      const found = model === undefined ? list![0]! : list?.find(({ id }) => id === model || id === `${model}:latest`);
      if (!found && list?.length) this.#tellOnce(`the model is not among those that it lists: ${shown}`);
      const chosen = found ? { ...found, id: model ?? found.id } : { id: model!, vision: undefined, stamp: "" };
      return chosen.vision === undefined ? { ...chosen, vision: await this.#visionOfProps(signal) } : chosen;
    } catch (error) {
      this.#looked = undefined; // another call may find it running
      throw error;
    }
  }

  /** llama.cpp's server tells at its root. */
  async #visionOfProps(signal: AbortSignal | undefined): Promise<boolean | undefined> {
    if (!this.#base.url.pathname.endsWith("/v1/")) return undefined;
    const url = below(this.#base, "");
    url.pathname = url.pathname.replace(/v1\/$/, "props");
    const got = await exchange({ ...this.#wire, tries: 1 }, url, { signal }).catch(() => undefined);
    signal?.throwIfAborted();
    return got?.ok ? visionOfProps(got.body) : undefined;
  }

  async #lookAgain(signal: AbortSignal | undefined): Promise<void> {
    const before = await this.#looked;
    const now = (await this.#list(signal).catch(() => undefined))?.find(({ id }) => id === before?.id);
    if (before?.stamp && now && now.stamp !== before.stamp)
      throw new EndpointError(
        "endpoint",
        `${this.label}: one model must answer all along, got other weights under the name ${now.id}; ask again with one of them alone`,
      );
  }
}
