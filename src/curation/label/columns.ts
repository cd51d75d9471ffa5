/** Labels as columns of clips: of what filters ask for, and of the data set's rows. */
import type { ScoredClip } from "../results.ts";
import type { ClipLabelled } from "./label.ts";
import { LABEL_NAMES, type LabelName } from "./labels.ts";

/**
 * A clip with its labels; a clip without them has null there, which no comparison takes.
 * @param made undefined where nobody was asked
 */
export function withLabels(one: ScoredClip, made: ClipLabelled | undefined): ScoredClip {
  const labels = made && "labels" in made ? made.labels : undefined;
  const label = labels?.label ?? (Object.fromEntries(LABEL_NAMES.map((name) => [name, null])) as Record<LabelName, null>);
  const looks = { aesthetic: labels?.aesthetic ?? null, watermark: labels?.watermark ?? null };
  const more = {
    label,
    label_source: made && "labels" in made ? made.model : null,
    label_error: made && "error" in made ? made.error : null,
  };
  const scores = { ...one.scores, ...looks };
  return { ...one, scores, more, columns: { ...one.columns, ...looks, scores, label } };
}
