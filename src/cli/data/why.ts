/** `cogwheel data why`: where a clip comes from, what was said of it, and why it stays or not. */
import { basename, join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { isObject } from "../../base/json-scan.ts";
import { visible } from "../../base/visible.ts";
import { isCurated, WORK_FOLDER } from "../../curation/curate-node.ts";
import { fileLedgerStore } from "../../curation/ledger/ledger-node.ts";
import { Ledger } from "../../curation/ledger/ledger.ts";
import { type ClipStory, clipsLike, storyOf } from "../../curation/ledger/story.ts";
import type { LabelValue } from "../../curation/label/label.ts";
import type { CaptionValue } from "../../curation/caption/record.ts";
import { DUPLICATE } from "../../curation/dataset/select.ts";
import type { StageResult } from "../../curation/types.ts";
import { print, printJson } from "../terminal/output.ts";

/** @param out the data set's folder @param clip an id, its first digits, or the name of the clip's file */
export async function tellWhy(out: string, clip: string, json: boolean): Promise<void> {
  if (!(await isCurated(out)))
    throw new CogwheelError("data", `the first argument must be the folder of a data set that was made here, got ${out}; name its --out`);
  const ledger = await Ledger.open(fileLedgerStore(join(out, WORK_FOLDER, "ledger.jsonl")));
  const wanted = basename(clip)
    .replace(/\.\w+$/, "")
    .toLowerCase();
  const like = clipsLike(ledger, wanted);
  if (wanted === "" || like.length !== 1)
    throw new CogwheelError(
      "data",
      like.length === 0
        ? `a clip must be one of the data set's, got ${clip}; metadata.jsonl names those that stay`
        : `a clip must be named so that it is one alone, got ${clip}, which may be ${like.slice(0, 3).join(", ")}; write more of it`,
    );
  const story = storyOf(ledger, like[0]!)!;
  if (json) printJson(story);
  else for (const line of linesOf(story)) print(visible(line));
}

/** A line a result; of those that were said anew, the last alone. */
function linesOf({ id, source, files, results }: ClipStory): string[] {
  // Frames have a caption each, by their own keys.
  const last = new Map(results.map((result) => [result.stage === "caption.frame" ? result.key : result.stage, result]));
  return [
    `clip ${id}`,
    `of ${files.join(", ") || "a file that is gone"} (sha256 ${source})`,
    ...[...last.values()].flatMap((one) => wordsOf(one, id)),
  ];
}

const captionWords = ({ text, violations, model, asked, tries }: CaptionValue): string =>
  `“${text}”, by ${model ?? asked}${tries.length > 1 ? ` after ${tries.length} tries` : ""}` +
  (violations?.length ? `; it breaks: ${violations.join(", ")}` : "");

function wordsOf({ stage, value, error, ms }: StageResult, id: string): string[] {
  const said = (text: string): string[] => [`${stage.padEnd(8)} ${text}${ms > 0 ? ` (${ms} ms)` : ""}`];
  if (error) return said(error.message);
  if (!isObject(value)) return said(JSON.stringify(value));
  switch (stage) {
    case "cut": {
      const clip = (value["clips"] as { id: string; start: number; end: number; from: number; to: number; copies: boolean }[]).find(
        (one) => one.id === id,
      )!;
      const changes = value["transitions"] as { at: number; by: string; score: number }[];
      const before = changes.filter(({ at }) => at <= clip.from).at(-1);
      const behind = changes.find(({ at }) => at >= clip.to);
      const change = (one: (typeof changes)[number] | undefined, none: string): string =>
        one ? `frame ${one.at} (${one.by}, ${one.score.toFixed(2)} × threshold)` : none;
      return said(
        `frames ${clip.from} to ${clip.to - 1}, ${clip.start} to ${clip.end} s, of the shot between ` +
          `${change(before, "the beginning")} and ${change(behind, "the end")}`,
      );
    }
    case "measure":
      return said(
        Object.entries(value["scores"] as Record<string, number>)
          .map(([name, n]) => `${name} ${n}`)
          .join(", "),
      );
    case "label": {
      const { aesthetic, watermark, label, asked, model } = value as unknown as LabelValue;
      const named = Object.entries({ watermark, ...label }).map(([name, sure]) => `${name} ${sure}`);
      return said(`aesthetic ${aesthetic}, ${named.join(", ")}, by ${model ?? asked}`);
    }
    case "select":
      return said(
        value["reason"] === null
          ? `stays by ${value["where"] ?? "no filter"}`
          : `dropped by ${String(value["reason"])}${value["reason"] === DUPLICATE ? ` of ${String(value["duplicate_of"])}` : ""}`,
      );
    default:
      // What was asked of a model stands in the ledger, and --json has it.
      if (stage.startsWith("caption.")) return said(captionWords(value as unknown as CaptionValue));
      return said(
        Object.entries(value)
          .map(([name, one]) => `${name} ${typeof one === "string" ? one : JSON.stringify(one)}`)
          .join(", "),
      );
  }
}
