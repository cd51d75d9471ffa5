/**
 * SAT's layout: `videos/ID.mp4` and `labels/ID.txt`. Its loader (`sat/data_video.py`) finds a clip's label by replacing every "videos" of
 * the whole path by "labels" and every ".mp4" by ".txt", so that neither may stand anywhere else in it.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { ExportTarget } from "./plan.ts";
import { expectEndings } from "./rows.ts";

export const sat: ExportTarget = {
  name: "sat",
  reader: "CogVideo's SAT (videos/*.mp4, labels/*.txt)",
  plan(rows, folder) {
    expectEndings(rows, "SAT", [".mp4"]);
    for (const word of ["videos", ".mp4"])
      if (folder.includes(word))
        throw new CogwheelError(
          "data",
          `a folder for SAT must not have “${word}” in its path, got ${folder}: its loader would look for labels elsewhere; choose another`,
        );
    for (const { id } of rows)
      if (id.includes("videos")) throw new CogwheelError("data", `a clip for SAT must not have “videos” in its name, got ${id}; rename it`);
    return rows.flatMap(({ id, file, caption }) => [
      { path: `videos/${id}.mp4`, from: file },
      { path: `labels/${id}.txt`, text: caption },
    ]);
  },
  async check(folder, rows) {
    const there = new Set(await folder.list());
    const wrong: string[] = [];
    const videos = [...there].filter((path) => path.endsWith(".mp4"));
    if (videos.length !== rows.length) wrong.push(`${videos.length} videos of ${rows.length}`);
    const captions = new Map(rows.map(({ id, caption }) => [id, caption]));
    for (const path of videos) {
      const label = `${folder.path}/${path}`.replaceAll("videos", "labels").replaceAll(".mp4", ".txt");
      const below = label.startsWith(`${folder.path}/`) ? label.slice(folder.path.length + 1) : "";
      if (!there.has(below)) wrong.push(`${path} has no label at ${label}`);
      else if ((await folder.text(below)) !== captions.get(path.slice("videos/".length, -".mp4".length)))
        wrong.push(`${label} is another clip's`);
    }
    return wrong;
  },
};
