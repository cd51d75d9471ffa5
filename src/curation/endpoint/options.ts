/** What an endpoint is told: checked once, with the rest left to defaults. */
import { brief } from "../../base/brief.ts";
import { CogwheelError } from "../../base/errors.ts";
import { checkHeaders } from "../../sources/http-guard.ts";
import type { Account, Prices } from "./spent.ts";

/** Options of {@link Endpoint}. */
export interface EndpointOptions extends Prices {
  /** Base address of an OpenAI-compatible API: `http://localhost:8000/v1`. A user and password in it become a header. */
  url: string;
  /** The model's name there. Default: the only one that it lists. */
  model?: string;
  /** Sent as a bearer token, to this host alone. It is written nowhere. */
  key?: string;
  /** Further headers, to this host alone. */
  headers?: Readonly<Record<string, string>>;
  /** Requests under way at a time. Default 4. */
  concurrency?: number;
  /** Seconds in which an answer may not come. Default 120; Node's own fetch waits for no more than 300. */
  timeoutSeconds?: number;
  /** How often a request is sent that fails in passing (429, 5xx, a broken connection, a time-out). Default 5. */
  tries?: number;
  /** The longest wait that a server may ask for with Retry-After, in seconds. Default 600. */
  longestWaitSeconds?: number;
  /** What goes into every body as it is, such as `{ chat_template_kwargs: { enable_thinking: false } }`. */
  body?: Readonly<Record<string, unknown>>;
  /** Counts what is spent, and holds it below a limit; one for several endpoints is possible. Default: an account without limits. */
  account?: Account;
  /** Called instead of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
  /** Told what should be known: a model that is not listed, a parameter that the server refuses. */
  onWarning?: (message: string) => void;
}

/** Numbers among the options, and what they may be. */
const RANGES = {
  concurrency: [1, 1024],
  timeoutSeconds: [0.01, 86_400],
  tries: [1, 100],
  longestWaitSeconds: [0, 86_400],
  inputPerMillion: [0, 1e9],
  outputPerMillion: [0, 1e9],
} as const;

/** Throws for options that cannot be. */
export function checkEndpointOptions(options: EndpointOptions): void {
  const fail = (rule: string): never => {
    throw new CogwheelError("endpoint", rule);
  };
  if (typeof options.url !== "string" || options.url === "")
    fail(`an endpoint must have an address in url, got ${brief(options.url)}; such as http://localhost:8000/v1`);
  for (const [name, [least, most]] of Object.entries(RANGES)) {
    const value = options[name as keyof typeof RANGES];
    if (value !== undefined && !(typeof value === "number" && value >= least && value <= most))
      fail(`${name} must be a number from ${least} to ${most}, got ${brief(value)}; leave it out for the default`);
  }
  for (const name of ["concurrency", "tries"] as const)
    if (options[name] !== undefined && !Number.isInteger(options[name]))
      fail(`${name} must be a whole number, got ${brief(options[name])}; round it`);
  if (options.model !== undefined && (typeof options.model !== "string" || options.model === ""))
    fail(`model must be a name, got ${brief(options.model)}; leave it out where the endpoint serves one`);
  checkHeaders(options.headers ?? {}, (rule) => new CogwheelError("endpoint", rule));
  if (options.key !== undefined && !/^[\x21-\x7e]+$/.test(options.key))
    fail("a key must be one word of ASCII characters, got another; look for line breaks and spaces in it");
}
