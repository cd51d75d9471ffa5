/**
 * Every request to the hub goes through one function, so that there is one place that sends the token, tries again, and
 * turns refusals into words.
 */
import { CogwheelError } from "../base/errors.ts";
import { ask, checkHeaders, NetworkFault, type Answer, type Budget } from "../sources/http-guard.ts";
import { beginsAsPage, isPageType, PAGE } from "../sources/http-page.ts";
import { PASSING, Patience, retryAfter } from "../sources/http-retry.ts";
import { isCommit, type HubOptions } from "./id.ts";

/** The hub did not answer, or not sensibly: the cache may do instead. */
export class HubUnreachable extends CogwheelError {
  /** @param after seconds that it asked to be left alone for */
  constructor(
    room: string,
    rule: string,
    options?: ErrorOptions,
    readonly after = 0,
  ) {
    super(room, rule, options);
  }
}

/** What a request is about. */
export interface HubRequest extends Pick<HubOptions, "signal" | "fetch" | "stallSeconds"> {
  /** `org/name`. */
  name: string;
  revision: string;
  endpoint: string;
  token: string | null;
  /** How often something is asked that fails in passing. Default 3. */
  tries?: number;
  /** What all answers together may take. */
  budget?: Budget;
}

const TRIES = 3;
/** The hub's own answers are lists of at most a thousand files. */
const DATA_LIMIT = 32 * 1024 * 1024;

/** Asks the hub, or where it sends us: throws on every answer but a good one, and sends the token to the endpoint alone. */
export async function hubAsk(request: HubRequest, address: string | URL, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const url = new URL(address);
  const { signal, name, token } = request;
  const own: Record<string, string> =
    token !== null && url.origin === new URL(request.endpoint).origin ? { authorization: `Bearer ${token}` } : {};
  checkHeaders(
    own,
    () =>
      new CogwheelError(
        "hub",
        `${name}: the token must be one line of letters and digits, got other characters in it; ` +
          "look at HF_TOKEN, or at the file that the hub's command line keeps it in",
      ),
  );
  for (const patience = new Patience(request.tries ?? TRIES, signal, request.stallSeconds); ; ) {
    let answer: Answer;
    try {
      answer = await ask(url, {
        fetch: request.fetch,
        signal,
        stallSeconds: request.stallSeconds,
        ...(request.budget ? { budget: request.budget } : {}),
        own,
        headers: { "accept-encoding": "identity", ...headers },
      });
    } catch (error) {
      if (!(error instanceof NetworkFault)) throw error;
      if (await patience.again(error.kind)) continue;
      throw new HubUnreachable(
        "hub",
        `${name}: the hub at ${url.origin} must answer, got ${error.got}; check the network, or HF_ENDPOINT`,
        { cause: error },
      );
    }
    if (answer.status >= 200 && answer.status < 300) {
      if (!isPageType(answer.headers.get("content-type"))) return answer;
      answer.cancel();
      throw notData(request);
    }
    answer.cancel();
    if (PASSING.has(answer.status) && (await patience.again("passing", retryAfter(answer.headers)))) continue;
    throw refusal(request, answer);
  }
}

/**
 * The same as a `fetch` for the hub's client: what it asks the API for comes whole, of the one byte by which it asks where a file lies
 * only the head.
 */
export function hubFetch(request: HubRequest): typeof globalThis.fetch {
  return async (input, init) => {
    const given = new Headers(init?.headers);
    // The client would send it wherever a listing's next page or a file is said to be.
    given.delete("authorization");
    const answer = await hubAsk(request, input instanceof Request ? input.url : input, Object.fromEntries(given));
    let body: Uint8Array<ArrayBuffer> | null = null;
    if (given.has("range")) answer.cancel();
    else {
      body = await answer.bytes(DATA_LIMIT).catch((error: unknown) => {
        throw error instanceof NetworkFault
          ? new HubUnreachable(
              "hub",
              `${request.name}: the hub at ${answer.url.origin} must answer with its data, ` +
                `got ${error.got}; check the network, or HF_ENDPOINT`,
              { cause: error },
            )
          : error;
      });
      if (beginsAsPage(body)) throw notData(request);
    }
    const response = new Response(body?.length ? body : null, { status: answer.status, headers: answer.headers });
    return Object.defineProperty(response, "url", { value: answer.url.href });
  };
}

/** Asks through the client; whatever it stumbles over in what the hub sends becomes words. */
export async function askClient<T>({ name, endpoint, signal }: HubRequest, label: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof CogwheelError) throw error;
    throw new HubUnreachable(
      "hub",
      `${label}: the hub at ${endpoint} must answer with its data, got ${String((error as Error).message ?? error).slice(0, 200)}; ` +
        `check HF_ENDPOINT, or whether ${name} is a model's repository there`,
      { cause: error },
    );
  }
}

type ModelInfo = typeof import("@huggingface/hub").modelInfo;

/** The commit that a revision is now. */
export async function askCommit(modelInfo: ModelInfo, request: HubRequest, label: string): Promise<string> {
  const { name, revision, endpoint } = request;
  return askClient(request, label, async () => {
    const { sha } = await modelInfo({ name, revision, hubUrl: endpoint, fetch: hubFetch(request), additionalFields: ["sha"] });
    // It becomes a part of paths and addresses.
    if (typeof sha !== "string" || !isCommit(sha))
      throw new CogwheelError(
        "hub",
        `${label}: the hub at ${endpoint} must tell the revision's commit, ` +
          `got ${JSON.stringify(sha)?.slice(0, 80) ?? "none"}; check HF_ENDPOINT`,
      );
    return sha;
  });
}

const notData = ({ name, endpoint }: HubRequest): HubUnreachable =>
  new HubUnreachable("hub", `${name}: the hub at ${endpoint} must answer with its data, got ${PAGE}, or HF_ENDPOINT`);

/** Why the hub does not give something, and what to do. */
export function refusal({ name, revision, endpoint, token }: HubRequest, { status, headers, url }: Answer): CogwheelError {
  const code = headers.get("x-error-code") ?? "";
  const said = (headers.get("x-error-message") ?? "").slice(0, 300);
  const error = (rule: string): CogwheelError => new CogwheelError("hub", `${name}: ${rule}`);
  const got = `got ${status}${said || code ? ` (${said || code})` : ""}`;
  const access = token === null ? "set HF_TOKEN to a token that may read it" : "check that the token in HF_TOKEN may read it";
  if (code === "GatedRepo" || (status === 403 && /gated|licence|license|access to/i.test(said))) {
    return error(`a gated repository must be opened to you, ${got}; accept its licence at ${endpoint}/${name} and ${access}`);
  }
  if (status === 401 || status === 403) {
    return error(
      `must be a folder here or a repository that you may read at ${endpoint}, ${got}: there is none of that name, ` +
        `or it is private or gated; check the name, or accept its licence at ${endpoint}/${name} and ${access}`,
    );
  }
  if (code === "RevisionNotFound")
    return error(`the revision must be in the repository, got ${JSON.stringify(revision)}, which is not; leave it out for main`);
  if (code === "EntryNotFound") return error(`the file must be in revision ${revision}, ${got} for ${url.pathname}; try again`);
  if (status === 404) return error(`must be a folder here or a repository at ${endpoint}, got neither (404); check the name`);
  const rule = `${name}: the hub at ${url.origin} must answer with the data, ${got}; try again later`;
  return PASSING.has(status) ? new HubUnreachable("hub", rule, undefined, retryAfter(headers)) : new CogwheelError("hub", rule);
}
