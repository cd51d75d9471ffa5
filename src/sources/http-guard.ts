/**
 * Every request over the network goes through `ask`, in Node and in the browser, so that there is one place that holds what a server may
 * do to who asks it: how long it may be silent, how much it may send, where it may send us, and who is told the app's headers.
 */
import { joined } from "../base/joined.ts";

/** How long an answer may bring (almost) nothing, unless told. */
export const STALL_SECONDS = 30;
/** Bytes a second, on the average of a stall's time, below which an answer counts as stalled: a drip would last for ever. */
export const LEAST_RATE = 1024;
/** As many as curl and browsers follow, halved. */
const MOST_REDIRECTS = 10;

/** What went wrong between us and a server; whoever asked says it in its own words. */
export class NetworkFault extends Error {
  override readonly name = "NetworkFault";
  /**
   * @param got what came instead, as the words after "got"
   * @param kind `passing`: another try may do better; `stalled`: so too, after a long wait; `final`: the server means it
   */
  constructor(
    readonly got: string,
    readonly kind: "passing" | "stalled" | "final",
    options?: ErrorOptions,
  ) {
    super(got, options);
  }
}

/** What several answers together may take: each takes away what it took. */
export interface Budget {
  bytes: number;
  /** Time spent waiting for answers and their bytes. */
  milliseconds: number;
}

/** How to ask. */
export interface AskOptions {
  fetch?: typeof globalThis.fetch | undefined;
  signal?: AbortSignal | undefined;
  /** Seconds in which an answer may bring less than {@link LEAST_RATE} a second. Default {@link STALL_SECONDS}. */
  stallSeconds?: number | undefined;
  /** What goes to every host. */
  headers?: Readonly<Record<string, string>>;
  /** What goes to the host that is asked and to no other that it redirects to. */
  own?: Readonly<Record<string, string>>;
  budget?: Budget;
  /** What is posted, in place of a GET; its type is told in `headers`, but for a form, which tells its own. */
  post?: string | FormData | undefined;
}

/** A server's answer, of which only the head has come. Its body is read once, or cancelled. */
export interface Answer {
  readonly status: number;
  readonly statusText: string;
  readonly headers: Headers;
  /** Where it came from, after redirects. */
  readonly url: URL;
  /** The body as it comes. What is more than `limit` bytes is a fault, and nothing further is received. Leaving the loop cancels it. */
  body(limit: number): AsyncGenerator<Uint8Array, void, void>;
  /** The whole body, of at most `limit` bytes. */
  bytes(limit: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Receives nothing further and lets the connection go. */
  cancel(): void;
}

/** How an answer's bytes are packed; null where they are as they are. */
export function packingOf(headers: Headers): string | null {
  const encoding = headers.get("content-encoding") ?? "";
  return /^\s*(identity)?\s*$/i.test(encoding) ? null : encoding;
}

/** Those that do not tell where a redirect leads: a browser's. */
const unseeing = new WeakSet<typeof globalThis.fetch>();
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Asks for `address` with GET, or posts there; resolves when the head of the answer is there. Throws the signal's reason, or a {@link NetworkFault}. */
export async function ask(
  address: URL,
  { fetch = globalThis.fetch, signal, stallSeconds = STALL_SECONDS, headers = {}, own = {}, budget, post }: AskOptions,
): Promise<Answer> {
  signal?.throwIfAborted();
  const stop = new AbortController();
  const aborted = (): void => stop.abort(signal!.reason);
  signal?.addEventListener("abort", aborted, { once: true });
  const watch = new Watch(stop, stallSeconds, budget);
  const end = (): void => signal?.removeEventListener("abort", aborted);
  const send = async (url: URL, redirect: RequestRedirect): Promise<Response> => {
    const told = keepsHeaders(address, url) ? { ...headers, ...own } : headers;
    try {
      // A browser's cache would give answers of another time, keep the weights once more, and hold back ranges of one file that are
      // asked for at once.
      const what: RequestInit = post === undefined ? {} : { method: "POST", body: post };
      return await watch.during(fetch(url, { ...what, headers: told, redirect, cache: "no-store", signal: stop.signal }));
    } catch (error) {
      throw faultOf(error, signal);
    }
  };
  try {
    // A browser does not tell where to, and takes only `authorization` off when it follows by itself.
    const names = Object.keys(own).filter((name) => name.toLowerCase() !== "authorization");
    let url = address;
    for (let redirects = 0; ; redirects++) {
      let response = await send(url, names.length === 0 && post === undefined && unseeing.has(fetch) ? "follow" : "manual");
      if (response.type === "opaqueredirect") {
        if (post !== undefined) throw new NetworkFault("a redirect of what was posted", "final");
        unseeing.add(fetch);
        if (names.length > 0)
          throw new NetworkFault(`a redirect, which a browser would follow with the header ${names.join(", ")} wherever it leads`, "final");
        response = await send(url, "follow");
      }
      if (!REDIRECTS.has(response.status)) return answer(response, url, { stop, watch, end, signal });
      const location = response.headers.get("location");
      void response.body?.cancel().catch(() => undefined);
      // What is posted may hold what only the host that was named is to read.
      if (post !== undefined) throw new NetworkFault(`a redirect of what was posted, to ${location?.slice(0, 200) ?? "nowhere"}`, "final");
      if (location === null || !URL.canParse(location, url)) throw new NetworkFault(`${response.status} without a place to go on`, "final");
      const next = new URL(location, url);
      if (next.protocol !== "http:" && next.protocol !== "https:") throw new NetworkFault(`a redirect to ${next.protocol}`, "final");
      if (redirects === MOST_REDIRECTS)
        throw new NetworkFault(`more than ${MOST_REDIRECTS} redirects, the last to ${next.origin}`, "final");
      next.username = next.password = "";
      url = next;
    }
  } catch (error) {
    end();
    stop.abort();
    throw error;
  }
}

/** An app's headers (a key, a cookie, a token) are for the host it named, be it by https after all, and for no other. */
function keepsHeaders(from: URL, to: URL): boolean {
  return (
    from.origin === to.origin ||
    (from.protocol === "http:" && to.protocol === "https:" && from.hostname === to.hostname && from.port === "" && to.port === "")
  );
}

function answer(
  response: Response,
  asked: URL,
  { stop, watch, end, signal }: { stop: AbortController; watch: Watch; end: () => void; signal: AbortSignal | undefined },
): Answer {
  const letGo = (): void => {
    end();
    if (!response.body?.locked) void response.body?.cancel().catch(() => undefined);
    stop.abort();
  };
  const self: Answer = {
    status: response.status,
    statusText: response.statusText,
    headers: response.headers,
    url: URL.canParse(response.url) ? new URL(response.url) : asked,
    async *body(limit) {
      const reader = response.body?.getReader();
      let received = 0;
      let whole = false;
      try {
        while (reader) {
          const { done, value } = await watch.during(reader.read()).catch((error: unknown) => {
            throw faultOf(error, signal);
          });
          if (done) break;
          received += value.length;
          watch.arrived(value.length);
          if (received > limit) throw new NetworkFault(`more than ${limit} bytes`, "final");
          yield value;
        }
        whole = true;
      } finally {
        if (whole)
          end(); // the connection may serve again
        else {
          void reader?.cancel().catch(() => undefined);
          letGo();
        }
      }
    },
    async bytes(limit) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of self.body(limit)) chunks.push(chunk);
      return joined(chunks);
    },
    cancel: letGo,
  };
  if (response.body === null) end();
  return self;
}

/**
 * Leaves who brings too little in the time that is waited for it; time in which nobody
 * waits, such as that of a full disk, does not count.
 */
class Watch {
  #waited = 0;
  #bytes = 0;
  /** Pieces that came after the time was over: some, for they may have lain there while the thread was busy. */
  #late = 0;
  readonly #aborted: Promise<never>;

  constructor(
    readonly stop: AbortController,
    readonly seconds: number,
    readonly budget: Budget | undefined,
  ) {
    this.#aborted = new Promise((_, reject) =>
      stop.signal.addEventListener("abort", () => reject(stop.signal.reason as Error), { once: true }),
    );
    this.#aborted.catch(() => undefined);
  }

  /** Waits for the next thing that comes. The timer holds Node's event loop meanwhile. */
  async during<T>(next: Promise<T>): Promise<T> {
    const from = performance.now();
    const stall = 1000 * this.seconds - this.#waited;
    const total = this.budget?.milliseconds ?? Infinity;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      const over = (): void => reject(total < stall ? new NetworkFault("an answer that goes on and on", "final") : this.#stalled());
      // What came while the thread was busy is taken before it is called late.
      timer = setTimeout(() => void (timer = setTimeout(over, 100)), Math.max(0, Math.min(stall, total)));
    });
    try {
      return await Promise.race([next, late, this.#aborted]);
    } catch (error) {
      if (error instanceof NetworkFault) this.stop.abort(error);
      throw error;
    } finally {
      clearTimeout(timer);
      const waited = performance.now() - from;
      this.#waited += waited;
      if (this.budget) this.budget.milliseconds -= waited;
    }
  }

  #stalled(): NetworkFault {
    return new NetworkFault(this.#bytes > 0 ? `${this.#bytes} bytes in ${this.seconds} s` : `nothing for ${this.seconds} s`, "stalled");
  }

  arrived(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes >= LEAST_RATE * this.seconds) this.#bytes = this.#waited = this.#late = 0;
    else if (this.#waited >= 1000 * this.seconds && ++this.#late > 4) throw this.#stalled();
    if (this.budget && (this.budget.bytes -= bytes) < 0) throw new NetworkFault("an answer that goes on and on", "final");
  }
}

/** What a failure of `fetch` or of a body is: the caller's own stop, a fault that is known, or a connection that failed. */
function faultOf(error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason;
  return error instanceof NetworkFault ? error : new NetworkFault(reason(error), "passing", { cause: error });
}

/** What went wrong in a connection, without the layers around it. */
export function reason(error: unknown): string {
  const { cause } = error as { cause?: { code?: string; message?: string } };
  const code = /^(?!UND_)[A-Z]/.test(cause?.code ?? "") ? cause?.code : undefined; // undici's own say less than its words, as do ours
  return (code || cause?.message || (error as Error).message || String(error)).slice(0, 300);
}

/** Throws on headers that cannot be sent, without telling what is in them: they may be secrets. */
export function checkHeaders(headers: Readonly<Record<string, string>>, error: (rule: string) => Error): void {
  for (const [name, value] of Object.entries(headers)) {
    try {
      new Headers({ [name]: value });
    } catch {
      throw error(
        `a header must be a name of letters, digits and dashes and one line of Latin-1, got another for ${JSON.stringify(name)}; ` +
          "look for line breaks and characters of other scripts in it",
      );
    }
  }
}

/** Throws on a value of the `stallSeconds` option that could not be one. */
export function checkStallSeconds(seconds: number | undefined, error: (rule: string) => Error): void {
  // setTimeout takes no more than 2^31 milliseconds.
  if (seconds !== undefined && !(seconds > 0 && seconds <= 86_400))
    throw error(`stallSeconds must be a number above 0 and up to 86400, got ${String(seconds)}; leave it out for ${STALL_SECONDS}`);
}
