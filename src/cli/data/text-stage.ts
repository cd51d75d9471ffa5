/** Text areas of clips that other measures keep, where a detector is installed. */
import { inLanes } from "../../curation/caption/lanes.ts";
import type { Curation } from "../../curation/curate-node.ts";
import type { ScoredClip } from "../../curation/results.ts";
import { TEXT_COLUMNS } from "../../curation/dataset/rows.ts";
import { LABEL_COLUMNS } from "../../curation/label/labels.ts";
import { openTextDetector } from "../../curation/text/detector-node.ts";
import { textAreaOf, withTextArea } from "../../curation/text/measure.ts";
import { captionedClip } from "./caption.ts";
import type { MeasureConfig } from "./keys.ts";

/** The runtime uses all cores for one picture: two clips at a time, so that one is read meanwhile. */
const LANES = 2;

export async function textStage(curation: Curation, { textModel }: MeasureConfig, clips: readonly ScoredClip[]): Promise<ScoredClip[]> {
  const detector = await openTextDetector(textModel);
  const { ledger, options } = curation;
  const chosen = curation.worthAsking(clips, [...TEXT_COLUMNS, ...LABEL_COLUMNS]);
  const files = await curation.write(chosen);
  const asked = chosen.flatMap((one, i) => (files[i] ? [captionedClip(one, files[i])] : []));
  const areas = await inLanes(
    asked,
    ledger,
    {
      lanes: LANES,
      signal: options.signal,
      onProgress: (done, all) => options.onProgress?.("text", done / all, `${done} of ${all}`),
    },
    (clip, signal) => textAreaOf(clip, detector, ledger, signal),
  );
  return clips.map((one) => withTextArea(one, areas.get(one.clip.id)));
}
