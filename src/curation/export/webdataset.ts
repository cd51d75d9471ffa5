/** WebDataset: tars in which files of one name, up to the first dot, are one sample: `ID.mp4`, `ID.txt`, `ID.json`. */
import { isObject } from "../../base/json-scan.ts";
import type { ExportTarget, PlannedFile } from "./plan.ts";
import type { DatasetSample } from "./rows.ts";

/** Samples of a shard: of clips of some megabytes each, some hundred megabytes. */
const SHARD = 100;
const shardName = (i: number): string => `shard-${String(i).padStart(6, "0")}.tar`;

export const webdataset: ExportTarget = {
  name: "webdataset",
  reader: "WebDataset (shard-*.tar)",
  plan: (rows) => {
    const shards: PlannedFile[] = [];
    for (let at = 0; at < rows.length; at += SHARD)
      shards.push({
        path: shardName(at / SHARD),
        members: rows.slice(at, at + SHARD).flatMap(({ id, ending, file, caption, columns }) => [
          { name: `${id}${ending}`, from: file },
          { name: `${id}.txt`, text: caption },
          { name: `${id}.json`, text: JSON.stringify({ ...columns, caption }) },
        ]),
      });
    return shards;
  },
  async check(folder, rows) {
    const { parseTar } = await import("nanotar"); // another reader than the writer
    const wrong: string[] = [];
    const samples = new Map<string, Map<string, Uint8Array>>();
    for (const path of (await folder.list()).toSorted()) {
      if (!path.endsWith(".tar")) wrong.push(`${path} is no tar`);
      let last = "";
      for (const { name, data } of parseTar(await folder.bytes(path))) {
        const [, key, ending] = /^((?:.*\/)?[^/.]+)\.([^/]*)$/.exec(name) ?? [];
        if (key === undefined || ending === undefined) {
          wrong.push(`${name} has no name and ending`);
          continue;
        }
        // A sample ends where another key begins.
        if (key !== last && samples.has(key)) wrong.push(`${key} is in two places`);
        last = key;
        const sample = samples.get(key) ?? new Map<string, Uint8Array>();
        samples.set(key, sample.set(ending, data ?? new Uint8Array()));
      }
    }
    if (samples.size !== rows.length) wrong.push(`${samples.size} samples of ${rows.length}`);
    for (const row of rows) wrong.push(...wrongOf(row, samples.get(row.id)));
    return wrong;
  },
};

function wrongOf({ id, ending, caption }: DatasetSample, sample: ReadonlyMap<string, Uint8Array> | undefined): string[] {
  const text = (name: string): string => new TextDecoder().decode(sample?.get(name));
  if (!sample?.get(ending.slice(1))?.length) return [`${id} has no ${ending}`];
  if (text("txt") !== caption) return [`${id} has another caption`];
  try {
    const columns: unknown = JSON.parse(text("json"));
    return isObject(columns) && columns["caption"] === caption ? [] : [`${id}.json has another caption`];
  } catch {
    return [`${id}.json is no JSON`];
  }
}
