/** The whole story of a clip: every result that it came from and that was said of it, in the order of the stages. */
import { isObject } from "../../base/json-scan.ts";
import type { StageResult } from "../types.ts";
import type { Ledger } from "./ledger.ts";

/** What `cogwheel data why` tells of a clip. */
export interface ClipStory {
  readonly id: string;
  /** Hash of its source. */
  readonly source: string;
  /** Paths that this content was found under. */
  readonly files: readonly string[];
  /** In the order in which they were said; what was said later of the same counts. */
  readonly results: readonly StageResult[];
}

/** Ids of clips that the ledger knows and that begin with these letters. */
export function clipsLike(ledger: Ledger, id: string): string[] {
  const found = new Set<string>();
  for (const { stage, of } of ledger.results()) if (stage === "measure" && of.startsWith(id)) found.add(of);
  return [...found].sort();
}

/** A clip's story by its whole id; undefined where the ledger knows of no such clip. */
export function storyOf(ledger: Ledger, id: string): ClipStory | undefined {
  let cut: StageResult | undefined;
  for (const result of ledger.results())
    if (result.stage === "cut" && isObject(result.value) && (result.value["clips"] as { id: string }[]).some((clip) => clip.id === id))
      cut = result;
  if (!cut) return undefined;
  const source = cut.of;
  const files: string[] = [];
  for (const { stage, of, value } of ledger.results())
    if (stage === "file" && isObject(value) && value["hash"] === source && !files.includes(of)) files.push(of);
  const ofSource = ledger.of(source).filter(({ stage }) => stage !== "cut");
  return { id, source, files: files.sort(), results: [...ofSource, cut, ...ledger.of(id)] };
}
