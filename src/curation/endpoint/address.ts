/** Addresses of endpoints: read from what a person writes, and shown without what is secret in them. */
import { base64 } from "../../base/base64.ts";
import { CogwheelError } from "../../base/errors.ts";

/** Where requests go. */
export interface ApiBase {
  /** Ends with a slash; has no user, no password and no fragment. */
  readonly url: URL;
  /** The user and password that the address had, as a header has them. */
  readonly authorization: string | undefined;
}

/**
 * The base of an OpenAI-compatible API, such as `http://localhost:8000/v1`; an address of `…/chat/completions` is taken for its base.
 * @param text what a person wrote, which may hold `user:password@` and a query
 */
export function apiBase(text: string): ApiBase {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new CogwheelError("endpoint", `an endpoint must be an absolute URL, got ${JSON.stringify(hidden(text))}; such as ${EXAMPLE}`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new CogwheelError("endpoint", `an endpoint must be at http: or https:, got ${url.protocol}; such as ${EXAMPLE}`);
  const { username, password } = url;
  url.username = url.password = url.hash = "";
  url.pathname = `${url.pathname.replace(/\/(chat\/)?completions\/?$/, "").replace(/\/+$/, "")}/`;
  if (username === "" && password === "") return { url, authorization: undefined };
  const bytes = new TextEncoder().encode(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`);
  return { url, authorization: `Basic ${base64(bytes)}` };
}

const EXAMPLE = "http://localhost:8000/v1";

/** The address of `path` below the base; the query of the base stays (some gateways want one). */
export function below({ url }: ApiBase, path: string): URL {
  const made = new URL(url);
  made.pathname += path;
  return made;
}

/** As messages and ledgers may show it: values of a query are secrets as often as not. */
export function shownAddress({ url }: ApiBase): string {
  const names = [...new Set(url.searchParams.keys())];
  return `${url.origin}${url.pathname.replace(/\/$/, "")}${names.length ? `?${names.map((name) => `${name}=…`).join("&")}` : ""}`;
}

/** A text that could be no address, without what may be a password in it. */
const hidden = (text: string): string => text.replace(/\/\/[^/@\s]*@/, "//…@").replace(/([?&][^=&]*)=[^&]*/g, "$1=…");
