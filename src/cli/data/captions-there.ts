/** Captions of the data set that lies in a folder, for a report that asks nobody. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { CaptionColumns } from "../../curation/results.ts";
import { isObject } from "../../base/json-scan.ts";

/** `videos/ID.mp4` */
export const idOf = (name: string): string => name.slice(name.lastIndexOf("/") + 1, name.lastIndexOf("."));

/** By the clips' ids; empty where there is no data set yet. Lines that are none are left out: they are nothing to show. */
export async function captionsThere(out: string): Promise<{ captions: Map<string, string>; told: Map<string, CaptionColumns> }> {
  const captions = new Map<string, string>();
  const told = new Map<string, CaptionColumns>();
  const text = await readFile(join(out, "metadata.jsonl"), "utf8").catch(() => "");
  for (const line of text.split("\n")) {
    const row = rowOf(line);
    if (typeof row?.["file_name"] !== "string") continue;
    const id = idOf(row["file_name"]);
    if (typeof row["caption"] === "string") captions.set(id, row["caption"]);
    if ("caption_source" in row) told.set(id, row);
  }
  return { captions, told };
}

function rowOf(line: string): Record<string, unknown> | undefined {
  try {
    const row: unknown = JSON.parse(line);
    return isObject(row) ? row : undefined;
  } catch {
    return undefined;
  }
}
