/** Sends requests of those who caption clips to a server of the worker's own. */
import { CogwheelError } from "../base/errors.ts";
import { type ApiBase, apiBase, below, shownAddress } from "../curation/endpoint/address.ts";
import { modelsOf } from "../curation/endpoint/probe.ts";
import { ask as request, NetworkFault } from "../sources/http-guard.ts";
import { answerBytes, type CaptionAsk, TOLD_HEADERS } from "./captions.ts";
import type { TaskDoer, TaskDoing } from "./work.ts";

export interface CaptionDoerOptions {
  /** Base address of an OpenAI-compatible API; a user and password in it become a header. */
  readonly url: string;
  /** Its only model that is asked for. Default: all that it lists, or any where it lists none. */
  readonly model?: string;
  /** Sent as a bearer token, to this host alone. */
  readonly key?: string;
  /** Requests under way at a time. Default 4. */
  readonly concurrency?: number;
}

/** Bytes of an answer. */
const MOST_BYTES = 16 * 2 ** 20;
/** What a server lists is asked for again after so long. */
const LOOK_MS = 60_000;
/** One that did not answer is asked again after so long. */
const AWAY_MS = 5_000;
const LIST_SECONDS = 30;

/** What a server was found to have: its models, undefined where it lists none; or why nothing can be sent there. */
type Served = { readonly models: readonly string[] | undefined } | { readonly why: string };

export class CaptionDoer implements TaskDoer<CaptionAsk> {
  readonly kind = "caption";
  readonly atOnce: number;
  /** Without what is secret. */
  readonly address: string;
  readonly #base: ApiBase;
  readonly #own: Readonly<Record<string, string>>;
  #served: { readonly until: number; readonly found: Promise<Served> } | undefined;

  constructor(private readonly options: CaptionDoerOptions) {
    const { url, key, concurrency = 4 } = options;
    if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 1024)
      throw new CogwheelError(
        "worker",
        `--caption-concurrency must be a whole number from 1 to 1024, got ${concurrency}; 4 is the default`,
      );
    this.#base = apiBase(url);
    this.address = shownAddress(this.#base);
    this.atOnce = concurrency;
    const authorization = key === undefined ? this.#base.authorization : `Bearer ${key}`;
    this.#own = authorization === undefined ? {} : { authorization };
  }

  async whyNot({ model }: CaptionAsk): Promise<string | undefined> {
    const isIt = (name: string): boolean => name === model || name === `${model}:latest`;
    const { model: only } = this.options;
    if (only !== undefined) return isIt(only) ? undefined : `it asks for the model ${model}, and this worker is for ${only}`;
    const served = await this.#look();
    if ("why" in served) return served.why;
    if (!served.models || served.models.some(isIt)) return undefined;
    return `it asks for the model ${model}, and ${this.address} serves ${served.models.slice(0, 20).join(", ") || "none"}`;
  }

  async #look(): Promise<Served> {
    if (this.#served && this.#served.until > Date.now()) return await this.#served.found;
    const found = this.#list();
    this.#served = { until: Date.now() + LOOK_MS, found };
    if ("why" in (await found)) this.#served = { until: Date.now() + AWAY_MS, found };
    return await found;
  }

  async #list(): Promise<Served> {
    try {
      const answer = await request(below(this.#base, "models"), { own: this.#own, stallSeconds: LIST_SECONDS });
      const text = new TextDecoder().decode(await answer.bytes(MOST_BYTES));
      if (answer.status === 401 || answer.status === 403)
        return { why: `${this.address} answers ${answer.status}; give the key that it wants in COGWHEEL_API_KEY` };
      return { models: answer.status === 200 ? modelsOf(JSON.parse(text))?.map(({ id }) => id) : undefined };
    } catch (error) {
      // Some serve completions alone, and their list is a page for people.
      if (!(error instanceof NetworkFault)) return { models: undefined };
      return { why: `${this.address} must answer, got ${error.got}; see whether it runs` };
    }
  }

  async do({ timeoutSeconds }: CaptionAsk, { input, signal }: TaskDoing): Promise<Uint8Array<ArrayBuffer>> {
    try {
      const answer = await request(below(this.#base, "chat/completions"), {
        post: new TextDecoder().decode(input),
        headers: { accept: "application/json", "content-type": "application/json" },
        own: this.#own,
        stallSeconds: timeoutSeconds,
        signal,
      });
      const body = new TextDecoder().decode(await answer.bytes(MOST_BYTES));
      const headers = Object.fromEntries(
        TOLD_HEADERS.flatMap((name) => [[name, answer.headers.get(name)] as const].filter(([, value]) => value)),
      );
      return answerBytes({ status: answer.status, headers: headers as Record<string, string>, body });
    } catch (error) {
      if (!(error instanceof NetworkFault)) throw error;
      throw new CogwheelError("tasks", `${this.address} must answer, got ${error.got}; see whether it runs`, { cause: error });
    }
  }

  /** It has nothing on the adapter. */
  release(): void {}
}
