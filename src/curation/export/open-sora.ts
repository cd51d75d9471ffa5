/**
 * Open-Sora's layout: one CSV with `path`, `text` and what its buckets go by. Its loader opens `path` as it stands there, so it is the
 * whole one. Scores that were measured stand in its columns where they mean the same.
 */
import { CogwheelError } from "../../base/errors.ts";
import { csvRows, csvText } from "./csv.ts";
import type { ExportTarget } from "./plan.ts";
import type { DatasetSample } from "./rows.ts";

const HEAD = ["path", "text", "num_frames", "width", "height", "aspect_ratio", "fps"] as const;
/** Its names for scores of ours. */
const SCORES = { aes: "aesthetic", flow: "motion" } as const;

const nameOf = ({ id, ending, kind }: DatasetSample): string => `${kind}s/${id}${ending}`;

export const openSora: ExportTarget = {
  name: "open-sora",
  reader: "Open-Sora (data.csv)",
  plan(rows, folder) {
    const without = rows.filter(({ width, height, frames }) => !width || !height || !frames);
    if (without.length)
      throw new CogwheelError(
        "data",
        `rows for Open-Sora must have width, height and num_frames, got ${without.length} without, such as ${without[0]!.file}; ` +
          "make the data set with `cogwheel data run`, which counts them",
      );
    const scored = Object.entries(SCORES).filter(([, name]) => rows.every((row) => Number.isFinite(scoreOf(row, name))));
    return [
      {
        path: "data.csv",
        text: csvText([
          [...HEAD, ...scored.map(([column]) => column)],
          ...rows.map((row) => [
            `${folder}/${nameOf(row)}`,
            row.caption,
            row.frames!,
            row.width!,
            row.height!,
            row.height! / row.width!,
            row.fps ?? "",
            ...scored.map(([, name]) => scoreOf(row, name)!),
          ]),
        ]),
      },
      ...rows.map((row) => ({ path: nameOf(row), from: row.file })),
    ];
  },
  async check(folder, rows) {
    const there = new Set((await folder.list()).map((path) => `${folder.path}/${path}`));
    const [head = [], ...lines] = csvRows(await folder.text("data.csv"));
    const wrong: string[] = HEAD.filter((name) => !head.includes(name)).map((name) => `no column ${name}`);
    if (lines.length !== rows.length) wrong.push(`${lines.length} rows of ${rows.length}`);
    for (const [i, cells] of lines.entries()) {
      const cell = (name: string): string => cells[head.indexOf(name)] ?? "";
      if (cells.length !== head.length) wrong.push(`row ${i + 1} has ${cells.length} cells of ${head.length}`);
      if (!there.has(cell("path"))) wrong.push(`${cell("path")} is not there`);
      if (cell("text") !== rows[i]?.caption) wrong.push(`row ${i + 1} has another caption`);
      for (const name of ["num_frames", "width", "height"])
        if (!(Number.isInteger(Number(cell(name))) && Number(cell(name)) > 0)) wrong.push(`row ${i + 1}: ${name} is ${cell(name)}`);
    }
    return wrong;
  },
};

function scoreOf({ columns }: DatasetSample, name: string): number | undefined {
  const scores = columns["scores"] as Record<string, unknown> | undefined;
  const value = scores?.[name] ?? columns[name];
  return typeof value === "number" ? value : undefined;
}
