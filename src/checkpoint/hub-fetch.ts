import { CogwheelError } from "../errors.ts";
import type { HubOptions } from "./hub-id.ts";

// Every request to the hub goes through one function, so that there is one place that sends the token, tries again, and
// turns refusals into words.

/** The hub did not answer, or not sensibly: the cache may do instead. */
export class HubUnreachable extends CogwheelError {}

/** What a request is about. */
export interface HubRequest extends Pick<HubOptions, "signal" | "fetch"> {
  /** `org/name`. */
  name: string;
  revision: string;
  endpoint: string;
  token: string | null;
}

/** Answers that may be others a moment later. */
const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);
const TRIES = 3;

/** Waits, unless the signal says to stop. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal!.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** A `fetch` for one repository: it throws on every answer but a good one, and sends the token to the endpoint alone. */
export function hubFetch(request: HubRequest): typeof globalThis.fetch {
  const { origin } = new URL(request.endpoint);
  const { signal } = request;
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init?.headers);
    // The client would send it wherever a listing's next page or a file is said to be. (fetch itself drops it in redirects.)
    headers.delete("authorization");
    if (request.token !== null && url.origin === origin) headers.set("authorization", `Bearer ${request.token}`);
    for (let attempt = 1; ; attempt++) {
      let response: Response;
      try {
        response = await (request.fetch ?? globalThis.fetch)(url, { ...init, headers, ...(signal ? { signal } : {}) });
      } catch (cause) {
        if (signal?.aborted) throw signal.reason;
        throw new HubUnreachable("hub", `${request.name}: the hub at ${url.origin} must answer, got ${reason(cause)}; check the network, or HF_ENDPOINT`, { cause });
      }
      if (response.ok) return response;
      if (attempt === TRIES || !PASSING.has(response.status)) throw await refusal(request, url, response);
      await response.body?.cancel();
      const told = Number(response.headers.get("retry-after") ?? NaN);
      await pause(told > 0 ? Math.min(told, 30) * 1000 : 300 * 2 ** attempt, signal);
    }
  };
}

/** What went wrong in a connection, without the layers around it. */
export function reason(error: unknown): string {
  const { cause } = error as { cause?: { code?: string; message?: string } };
  return cause?.code ?? cause?.message ?? (error as Error).message ?? String(error);
}

async function refusal({ name, revision, endpoint, token }: HubRequest, url: URL, response: Response): Promise<CogwheelError> {
  const code = response.headers.get("x-error-code") ?? "";
  const said = response.headers.get("x-error-message") ?? "";
  const { status } = response;
  await response.body?.cancel();
  const error = (rule: string): CogwheelError => new CogwheelError("hub", `${name}: ${rule}`);
  const got = `got ${status}${said || code ? ` (${said || code})` : ""}`;
  const access = token === null ? "set HF_TOKEN to a token that may read it" : "check that the token in HF_TOKEN may read it";
  if (code === "GatedRepo" || (status === 403 && /gated|licen[cs]e|access to/i.test(said))) {
    return error(`a gated repository must be opened to you, ${got}; accept its licence at ${endpoint}/${name} and ${access}`);
  }
  if (status === 401 || status === 403) {
    return error(`must be a folder here or a repository that you may read at ${endpoint}, ${got}: there is none of that name, or it is private or gated; check the name, or accept its licence at ${endpoint}/${name} and ${access}`);
  }
  if (code === "RevisionNotFound") return error(`the revision must be in the repository, got ${JSON.stringify(revision)}, which is not; leave it out for main`);
  if (code === "EntryNotFound") return error(`the file must be in revision ${revision}, ${got} for ${url.pathname}; try again`);
  if (status === 404) return error(`must be a folder here or a repository at ${endpoint}, got neither (404); check the name`);
  const rule = `${name}: the hub at ${url.origin} must answer with the data, ${got}; try again later`;
  return PASSING.has(status) ? new HubUnreachable("hub", rule) : new CogwheelError("hub", rule);
}
