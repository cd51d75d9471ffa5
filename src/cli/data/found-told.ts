/** What `cogwheel data scan`, `cut` and `measure` print of each file or clip: a table, as long as somebody reads it. */
import type { CutSource, ScannedSource, ScoredClip } from "../../curation/results.ts";
import { print } from "../terminal/output.ts";
import { table } from "../terminal/table.ts";

/** Lines of a table. */
const MOST = 100;

/** Columns of clips, all of which `--json` has. */
const MEASURES = ["motion", "still", "sharpness", "brightness", "contrast", "letterbox", "flicker"] as const;

/** @param stage that was asked for: the others say how much they found, and that is all */
export function printFound(
  stage: string,
  sources: readonly ScannedSource[],
  cut: readonly CutSource[] | undefined,
  clips: readonly ScoredClip[] | undefined,
): void {
  if (stage === "scan")
    printTable(["file", "what", "size", "fps", "seconds", "turned", "colour"], sources, ({ source, facts }) => [
      source.path,
      facts.codec === facts.container ? facts.codec : `${facts.codec} in ${facts.container}`,
      `${facts.width}×${facts.height}`,
      facts.fps ? `${facts.variable ? "~" : ""}${Number(facts.fps.toFixed(2))}` : "–",
      facts.duration ? facts.duration.toFixed(2) : "–",
      facts.rotation ? `${facts.rotation}°` : "",
      facts.color ?? "",
    ]);
  if (stage === "cut" && cut)
    printTable(["file", "frames", "clips", "first frames of new shots"], cut, ({ source, frames, clips: { length }, transitions }) => [
      source.path,
      String(frames),
      String(length),
      transitions.map(({ at }) => at).join(" "),
    ]);
  if (stage === "measure" && clips)
    printTable(["clip", "file", "from", "to", ...MEASURES], clips, ({ clip, of, scores }) => [
      clip.id,
      of.source.path,
      clip.start.toFixed(2),
      clip.end.toFixed(2),
      ...MEASURES.map((name) => String(Number(scores[name].toPrecision(3)))),
    ]);
}

function printTable<Row>(heads: readonly string[], rows: readonly Row[], cells: (row: Row) => string[]): void {
  if (rows.length === 0) return;
  print(table(heads, rows.slice(0, MOST).map(cells)));
  if (rows.length > MOST) print(`… and ${(rows.length - MOST).toLocaleString("en")} more, which --json has\n`);
}
