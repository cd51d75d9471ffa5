/** VideoX-Fun's layout: `metadata.json`, a list of `{ file_path, text, type }`, whose paths are told from the folder. */
import { isObject } from "../../base/json-scan.ts";
import type { ExportTarget } from "./plan.ts";

export const videoxFun: ExportTarget = {
  name: "videox-fun",
  reader: "VideoX-Fun (metadata.json)",
  plan: (rows) => [
    {
      path: "metadata.json",
      text: `${JSON.stringify(
        rows.map(({ id, ending, caption, kind, width, height }) => ({
          file_path: `${kind}s/${id}${ending}`,
          text: caption,
          type: kind,
          ...(width && height ? { width, height } : {}),
        })),
        null,
        2,
      )}\n`,
    },
    ...rows.map(({ id, ending, kind, file }) => ({ path: `${kind}s/${id}${ending}`, from: file })),
  ],
  async check(folder, rows) {
    const there = new Set(await folder.list());
    const list: unknown = JSON.parse(await folder.text("metadata.json"));
    if (!Array.isArray(list)) return ["metadata.json is no list"];
    const wrong: string[] = list.length === rows.length ? [] : [`${list.length} entries of ${rows.length}`];
    for (const [i, entry] of list.entries()) {
      const row = rows[i];
      if (!isObject(entry) || !row) wrong.push(`entry ${i} is none`);
      else if (!there.has(String(entry["file_path"]))) wrong.push(`${String(entry["file_path"])} is not there`);
      else if (entry["text"] !== row.caption || entry["type"] !== row.kind) wrong.push(`entry ${i} is not that of ${row.id}`);
    }
    return wrong;
  },
};
