/**
 * Requests to models that caption clips, sent over a queue: whoever asks does it by an endpoint of its own, whose `fetch` is this, so that
 * retries, limits, costs and the checks of answers are the same as of an address. Workers send the requests on, each to its own server.
 */
import { CogwheelError } from "../base/errors.ts";
import { isObject, parseJsonObject } from "../base/json-scan.ts";
import type { JobBackend } from "../jobs/backend.ts";
import { TaskAsker, type AskerOptions } from "./asker.ts";

/** A request, beside its body. */
export interface CaptionAsk {
  /** The model's name: only workers whose server has it take the request. */
  readonly model: string;
  /** Seconds in which an answer may not come. */
  readonly timeoutSeconds: number;
  /** Tells requests from each other that are alike and under way at the same time. */
  readonly copy: number;
}

/** A server's answer, as a task's result holds it. */
export interface QueuedAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface QueuedChatOptions extends Omit<AskerOptions, "kind"> {
  readonly timeoutSeconds: number;
  /** Told what a person should know. */
  readonly onNote?: (message: string) => void;
}

/** Headers of an answer that whoever asked goes by. */
export const TOLD_HEADERS = ["content-type", "retry-after", "retry-after-ms"] as const;

/** Workers may fail at a request less often than that, before it counts as one that failed in passing. */
const TRIES = 3;
/** Without any worker for so long a word is said. */
const LONELY_MS = 5_000;

export class QueuedChat implements AsyncDisposable {
  readonly #asker: TaskAsker<CaptionAsk>;
  /** Bodies that are under way, with their copies. */
  readonly #underWay = new Set<string>();
  readonly #begun = performance.now();
  #lonely = true;
  /** What a worker failed with, once it was told. */
  #failure: string | undefined;

  constructor(
    backend: JobBackend,
    private readonly options: QueuedChatOptions,
  ) {
    this.#asker = new TaskAsker(backend, { ...options, kind: "caption" });
  }

  /** Sends completions over the queue; what else an endpoint asks for is not there. */
  readonly fetch: typeof globalThis.fetch = async (address, { body, signal } = {}) => {
    if (typeof body !== "string" || !new URL(String(address)).pathname.endsWith("/chat/completions"))
      return Response.json({ error: { message: "a queue has completions alone" } }, { status: 404 });
    const { model } = parseJsonObject(body, (rule) => new CogwheelError("tasks", `a request ${rule}`));
    let copy = 0;
    while (this.#underWay.has(`${copy} ${body}`)) copy++;
    this.#underWay.add(`${copy} ${body}`);
    try {
      return await this.#send({ model: String(model), timeoutSeconds: this.options.timeoutSeconds, copy }, body, signal ?? undefined);
    } finally {
      this.#underWay.delete(`${copy} ${body}`);
    }
  };

  async #send(ask: CaptionAsk, body: string, signal: AbortSignal | undefined): Promise<Response> {
    const asker = this.#asker;
    await asker.expect(1);
    const input = new TextEncoder().encode(body);
    let task = await asker.add(ask, input);
    try {
      for (;;) {
        signal?.throwIfAborted();
        const { changes } = asker;
        const record = await asker.look(task);
        if (!record) task = await asker.add(ask, input);
        const bytes = record?.result && (await asker.result(task));
        if (bytes) {
          const { status, headers, body: answer } = answerOf(bytes);
          await asker.remove(task, true);
          return new Response(answer, { status, headers });
        }
        if (record?.lease || record?.failures) this.#lonely = false;
        if (record?.failure !== undefined && record.failure !== this.#failure) this.options.onNote?.(`Worker ${record.failure}`);
        this.#failure = record?.failure ?? this.#failure;
        // As a server that cannot be reached: whoever asks tries again, as often as it is told.
        if (record && record.failures >= TRIES && !record.lease) throw new TypeError(record.failure ?? "workers failed");
        this.#tellLonely(ask.model);
        if (record) await asker.changed(changes, signal);
      }
    } catch (error) {
      await asker.remove(task, false).catch(() => undefined);
      throw error;
    }
  }

  #tellLonely(model: string): void {
    if (!this.#lonely || performance.now() - this.#begun < LONELY_MS) return;
    this.#lonely = false;
    this.options.onNote?.(
      `No worker has taken a request yet; start \`cogwheel worker --caption-url URL\` on this queue, where URL serves ${model}.`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#asker[Symbol.asyncDispose]();
  }
}

export const answerBytes = (answer: QueuedAnswer): Uint8Array<ArrayBuffer> => new TextEncoder().encode(JSON.stringify(answer));

function answerOf(bytes: Uint8Array): QueuedAnswer {
  const fail = (rule: string): CogwheelError => new CogwheelError("tasks", `a worker's answer ${rule}; end that worker`);
  const { status, headers, body } = parseJsonObject(new TextDecoder().decode(bytes), fail);
  if (!(typeof status === "number" && status >= 200 && status <= 599) || typeof body !== "string" || !isObject(headers))
    throw fail(`must have a status, headers and a body, got ${JSON.stringify(status)}`);
  const told = TOLD_HEADERS.flatMap((name) => (typeof headers[name] === "string" ? [[name, headers[name]] as const] : []));
  return { status, headers: Object.fromEntries(told), body };
}
