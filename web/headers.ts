/** What the playground's files are sent with. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * The headers of a built site: its page's own Content-Security-Policy, for workers too, which a page's element does not reach, and what
 * only a header can say. `isolate`: the page is kept apart from other origins.
 */
export async function siteHeaders(site: string, { isolate = false } = {}): Promise<Record<string, string>> {
  const [, policy] = /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(await readFile(join(site, "index.html"), "utf8")) ?? [];
  if (policy === undefined)
    throw new Error(`[web] ${join(site, "index.html")} must have a Content-Security-Policy, got none; build the site again`);
  return {
    "content-security-policy": `${policy.trim().replace(/\s+/g, " ")}; frame-ancestors 'none'`,
    "referrer-policy": "no-referrer",
    // Kept, and asked for each time: a second visit fetches what is new, and nobody has an old page.
    "cache-control": "no-cache",
    ...(isolate ? { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" } : {}),
  };
}
