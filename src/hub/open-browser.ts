/**
 * Opens what a user names as a checkpoint, in a browser: a URL (relative ones count from
 * the page), an id on the hub, or a ready source. Without a name it is the embedded model.
 */
import { isHubAddress, parseHubId } from "./id.ts";
import { givenSource, type OpenSourceOptions } from "./open-options.ts";
import { httpSource } from "../sources/http.ts";
import { readJson } from "../sources/source.ts";
import type { CheckpointSource } from "../sources/source.ts";

export async function openSource(
  from: string | URL | CheckpointSource | undefined,
  { hub, anyFile }: OpenSourceOptions = {},
): Promise<CheckpointSource> {
  if (from === undefined) return (await import("./embedded-browser.ts")).embeddedSource();
  if (typeof from !== "string" && !(from instanceof URL)) return givenSource(from);
  // In a model's worker it is the page that the app is (src/thread/serve.ts), and not the worker's script.
  const page = (globalThis as { cogwheelPage?: string }).cogwheelPage ?? globalThis.location?.href;
  if (isHubAddress(String(from), hub?.endpoint)) {
    const address = (await import("./address.ts"))[anyFile ? "parseHubFolder" : "parseHubAddress"](String(from), hub?.endpoint);
    if (address) return (await import("./ranges.ts")).hubHttpSource(address, hub);
  }
  const id = typeof from === "string" ? parseHubId(from) : null;
  if (id && !(page !== undefined && URL.canParse(from, page) && (await isCheckpoint(new URL(from, page).href)))) {
    const { hubHttpSource } = await import("./ranges.ts");
    return hubHttpSource(id, hub);
  }
  return httpSource(URL.canParse(String(from), page) ? new URL(from, page).href : String(from));
}

/** `org/name` may also be a folder beside the page, and that one wins. Servers that answer every path with a page have none. */
async function isCheckpoint(url: string): Promise<boolean> {
  await using source = httpSource(url);
  return await readJson(source, "model_index.json").then(
    () => true,
    () => false,
  );
}
