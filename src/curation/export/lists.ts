/**
 * Lists of lines: `prompts.txt` and `videos.txt`, as CogVideo's finetuning (`finetune/datasets/utils.py`) and diffusers'
 * `train_cogvideox_lora.py` read them. Both drop empty lines of either list, so that a clip without a caption would shift all after it.
 */
import type { ExportTarget, PlannedFile, WrittenFolder } from "./plan.ts";
import { expectEndings, type DatasetSample } from "./rows.ts";

const nameOf = ({ id, ending }: DatasetSample): string => `videos/${id}${ending}`;
const FILMS = [".mp4", ".mov", ".m4v", ".mkv", ".webm"];

function plan(reader: string, rows: readonly DatasetSample[]): PlannedFile[] {
  expectEndings(rows, reader, FILMS);
  return [
    { path: "prompts.txt", text: rows.map(({ caption }) => `${caption}\n`).join("") },
    { path: "videos.txt", text: rows.map((row) => `${nameOf(row)}\n`).join("") },
    ...rows.map((row) => ({ path: nameOf(row), from: row.file })),
  ];
}

/** Python's `[line.strip() for line in file if len(line.strip()) > 0]`: universal newlines, no others. */
const linesOf = (text: string): string[] =>
  text
    .split(/\r\n|\r|\n/)
    .map((line) => line.trim())
    .filter((line) => line !== "");

async function check(folder: WrittenFolder, rows: readonly DatasetSample[]): Promise<string[]> {
  const there = new Set(await folder.list());
  const [prompts, videos] = [linesOf(await folder.text("prompts.txt")), linesOf(await folder.text("videos.txt"))];
  const wrong: string[] = [];
  if (prompts.length !== videos.length) wrong.push(`${prompts.length} prompts for ${videos.length} videos`);
  if (videos.length !== rows.length) wrong.push(`${videos.length} videos of ${rows.length}`);
  for (const path of videos) if (!there.has(path)) wrong.push(`${path} is not there`);
  // CogVideo keeps encoded latents under the stem of a clip's name.
  const stems = videos.map((path) =>
    path
      .split("/")
      .at(-1)!
      .replace(/\.[^.]*$/, ""),
  );
  if (new Set(stems).size < stems.length) wrong.push("two clips of one name");
  for (const [i, { caption, id }] of rows.entries())
    if (prompts[i] !== caption || !videos[i]?.includes(id)) wrong.push(`line ${i + 1} is not that of ${id}`);
  return wrong;
}

const CAPTION_AND_VIDEO = "prompts.txt and videos.txt";
export const cogvideo: ExportTarget = {
  name: "cogvideo",
  reader: `CogVideo's finetuning (${CAPTION_AND_VIDEO})`,
  plan: (rows) => plan("CogVideo's finetuning", rows),
  check,
};

export const diffusers: ExportTarget = {
  name: "diffusers",
  reader: `diffusers' train_cogvideox_lora.py (${CAPTION_AND_VIDEO})`,
  plan: (rows) => plan("diffusers' script", rows),
  check,
};
