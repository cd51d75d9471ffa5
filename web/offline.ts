/**
 * The page without a network: a service worker that keeps what the page was made of, as it comes. Scripts, styles and the page itself are
 * asked for anew wherever there is a network, so that nobody has an old one; chunks, whose names tell their content, and the embedded
 * checkpoint are fetched once for each version of the site. Other origins' files are none of its business.
 */

/** What this thread is, of which TypeScript's library for pages knows nothing. */
interface Scope {
  readonly registration: { readonly scope: string };
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: "install" | "activate", listener: (event: { waitUntil(done: Promise<unknown>): void }) => void): void;
  addEventListener(
    type: "fetch",
    listener: (event: { readonly request: Request; respondWith(answer: Promise<Response>): void }) => void,
  ): void;
}
const scope = self as unknown as Scope;

/** Put in by build.mjs: a digest of the site, and the files that the page begins with. */
declare const VERSION: string;
declare const SHELL: readonly string[];
/** All files of the embedded checkpoint: others are asked for too, by those who look whether they are there. */
declare const MODEL: readonly string[];

const PREFIX = "cogwheel-page-";
const CACHE = PREFIX + VERSION;
const base = scope.registration.scope;

scope.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) => cache.addAll(SHELL.map((path) => new Request(new URL(path, base), { cache: "no-cache" }))))
      .then(() => scope.skipWaiting()),
  );
});
scope.addEventListener("activate", (event) => {
  const clean = async (): Promise<void> => {
    for (const name of await caches.keys()) if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
    await scope.clients.claim();
  };
  event.waitUntil(clean());
});
scope.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(base)) return;
  const path = request.url.slice(base.length);
  if (MODEL.includes(path)) event.respondWith(ranged(request));
  else if (path.startsWith("models/")) event.respondWith(fetch(request).catch(() => new Response(null, { status: 404 })));
  else event.respondWith(path.startsWith("chunks/") ? once(request) : newest(request));
});

async function keep(cache: Cache, key: string, answer: Response): Promise<void> {
  // A disk that is full is no reason to have no page.
  if (answer.status === 200) await cache.put(key, answer.clone()).catch(() => undefined);
}

const kept = async (url: string): Promise<Response | undefined> => (await caches.open(CACHE)).match(url);

async function once({ url }: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const found = await cache.match(url);
  if (found) return found;
  const answer = await fetch(url);
  await keep(cache, url, answer);
  return answer;
}

async function newest(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  // An address may have a query, which the files do not look at.
  const key = request.url.replace(/[?#].*$/, "");
  try {
    const answer = await fetch(request);
    await keep(cache, key, answer);
    return answer;
  } catch (error) {
    const kept = (await cache.match(key)) ?? (request.mode === "navigate" ? await cache.match(new URL("index.html", base)) : undefined);
    if (kept) return kept;
    throw error;
  }
}

const HEAD_BYTES = 64 << 10;
/** Whole files under way: those who want other ranges of one wait for it. */
const underWay = new Map<string, Promise<Response>>();

/** A range of a file that is kept as a whole. */
async function ranged(request: Request): Promise<Response> {
  const { url, headers } = request;
  const range = /^bytes=(\d+)-(\d*)$/.exec(headers.get("range") ?? "");
  let whole = underWay.get(url);
  // The head of a file, which says what is in it, does not wait for the rest, which may never be asked for.
  if (!whole && range?.[2] && Number(range[2]) < HEAD_BYTES && !(await kept(url))) return await fetch(request);
  if (!whole) {
    whole = once(new Request(url)).finally(() => underWay.delete(url));
    underWay.set(url, whole);
  }
  const answer = (await whole).clone();
  const condition = headers.get("if-range");
  if (!range || answer.status !== 200 || (condition !== null && condition !== answer.headers.get("etag"))) return answer;
  const bytes = await answer.blob();
  const start = Number(range[1]);
  const last = Math.min(range[2] ? Number(range[2]) : bytes.size - 1, bytes.size - 1);
  const say = new Headers({ "accept-ranges": "bytes" });
  for (const name of ["content-type", "etag", "last-modified"]) if (answer.headers.has(name)) say.set(name, answer.headers.get(name)!);
  if (start > last) {
    say.set("content-range", `bytes */${bytes.size}`);
    return new Response(null, { status: 416, headers: say });
  }
  say.set("content-range", `bytes ${start}-${last}/${bytes.size}`);
  say.set("content-length", String(last - start + 1));
  return new Response(bytes.slice(start, last + 1), { status: 206, headers: say });
}
