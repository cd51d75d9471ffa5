/** Hugging Face's VideoFolder, which finetrainers, the Hub's viewer and this engine read too: `metadata.jsonl` beside the clips. */
import { parseJsonObject } from "../../base/json-scan.ts";
import type { ExportTarget } from "./plan.ts";
import type { DatasetSample } from "./rows.ts";

const nameOf = ({ id, ending, kind }: DatasetSample): string => `${kind}s/${id}${ending}`;

export const videofolder: ExportTarget = {
  name: "videofolder",
  reader: "datasets' VideoFolder, finetrainers, this engine (metadata.jsonl)",
  plan(rows) {
    // Readers want the same columns on every line.
    const names = [...new Set(rows.flatMap(({ columns }) => Object.keys(columns)))].filter(
      (name) => name !== "file_name" && name !== "caption",
    );
    return [
      {
        path: "metadata.jsonl",
        text: rows
          .map((row) => {
            const rest = names.map((name) => [name, row.columns[name] ?? null] as const);
            return `${JSON.stringify({ file_name: nameOf(row), caption: row.caption, ...Object.fromEntries(rest) })}\n`;
          })
          .join(""),
      },
      ...rows.map((row) => ({ path: nameOf(row), from: row.file })),
    ];
  },
  async check(folder, rows) {
    const there = new Set(await folder.list());
    const metadata = [...there].filter((path) => /(^|\/)metadata\.(jsonl|csv|parquet)$/.test(path));
    const wrong: string[] = metadata.length === 1 ? [] : [`${metadata.length} files of metadata`];
    const lines = (await folder.text("metadata.jsonl")).split("\n").filter((line) => line !== "");
    if (lines.length !== rows.length) wrong.push(`${lines.length} lines of ${rows.length}`);
    let first: string | undefined;
    for (const [i, line] of lines.entries()) {
      const columns = parseJsonObject(line, (rule) => new Error(`line ${i + 1} ${rule}`));
      const file = String(columns["file_name"]);
      if (!there.delete(file)) wrong.push(`${file} is not there, or there twice`);
      if (columns["caption"] !== rows[i]?.caption) wrong.push(`line ${i + 1} has another caption`);
      const names = Object.keys(columns).join();
      first ??= names;
      if (names !== first) wrong.push(`line ${i + 1} has other columns than the first`);
    }
    const left = [...there].filter((path) => !path.endsWith("metadata.jsonl"));
    if (left.length) wrong.push(`${left.length} files that no line names, such as ${left[0]}`);
    return wrong;
  },
};
