/**
 * Opens what a user names as a checkpoint, in Node: a folder, a `file:` or `http(s):` URL, an id on the hub, or a ready source. Without a
 * name it is the embedded model.
 */
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { CogwheelError } from "../base/errors.ts";
import { isHubAddress, parseHubId } from "./id.ts";
import { givenSource, type OpenSourceOptions } from "./open-options.ts";
import type { HubId } from "./id.ts";
import type { HubFolder } from "./address.ts";
import { toldEndpoint } from "./settings.ts";
import { folderSource } from "../sources/folder.ts";
import { httpSource } from "../sources/http.ts";
import type { CheckpointSource } from "../sources/source.ts";

export async function openSource(
  from: string | URL | CheckpointSource | undefined,
  options: OpenSourceOptions = {},
): Promise<CheckpointSource> {
  if (from === undefined) return await (await import("./embedded-node.ts")).embeddedSource();
  if (typeof from !== "string" && !(from instanceof URL)) return givenSource(from);
  const text = String(from);
  // What is here wins over what is there.
  if (!/^\w+:\/\//.test(text) && (await stat(text).catch(() => null))) return folderSource(text);
  // A page's address is its repository.
  const page = await hubPage(text, options);
  if (page === null && /^https?:/i.test(text)) return httpSource(text);
  if (/^file:/i.test(text)) return folderSource(pathOf(text));
  const id: (HubId & Partial<HubFolder>) | null = page ?? parseHubId(text);
  if (id === null) return folderSource(text);
  const { hubSource } = await import("./hub.ts");
  return hubSource(id, options.anyFile ? { ...options, folder: id.folder ?? "" } : options);
}

async function hubPage(text: string, { hub = {}, anyFile = false }: OpenSourceOptions): Promise<(HubId & Partial<HubFolder>) | null> {
  const endpoint = toldEndpoint(hub);
  if (!isHubAddress(text, endpoint)) return null;
  const { parseHubAddress, parseHubFolder } = await import("./address.ts");
  return anyFile ? parseHubFolder(text, endpoint) : parseHubAddress(text, endpoint);
}

function pathOf(address: string): string {
  try {
    return fileURLToPath(address);
  } catch (cause) {
    throw new CogwheelError(
      "checkpoint",
      `a file: address must name a folder on this machine, got ${JSON.stringify(address.slice(0, 200))}; pass the folder's path`,
      { cause },
    );
  }
}
