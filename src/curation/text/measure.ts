/** How much of a clip's picture text takes: the mean of three frames, as Stable Video Diffusion measured it (arXiv:2311.15127). */
import type { CaptionClip } from "../caption/caption.ts";
import { framesOf } from "../caption/frames.ts";
import { recorded } from "../caption/record.ts";
import type { ScoredClip } from "../results.ts";
import { resultKey } from "../ledger/key.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { DETECTOR_LONGEST } from "./boxes.ts";
import type { TextDetector } from "./detector-node.ts";

/** Rises when the same detector gives another share. */
const TEXT_VERSION = 1;
const FRAMES = 3;

/** The clip's share, 0 to 1, from the ledger where it has it; undefined where the clip cannot be read. */
export async function textAreaOf(
  clip: CaptionClip,
  detector: TextDetector,
  ledger: Ledger,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  const key = resultKey("text", TEXT_VERSION, { detector: detector.version }, [clip.id]);
  const { value } = await recorded<{ text_area: number }>(
    ledger,
    { stage: "text", key, of: clip.id },
    async () => {
      const rate = FRAMES / Math.max(clip.duration, 0.1);
      const most = clip.kind === "picture" ? 1 : FRAMES;
      const frames = await framesOf(await clip.read(), { rate, most, longest: DETECTOR_LONGEST, name: clip.name, signal });
      let sum = 0;
      for (const { frame } of frames) sum += await detector.shareOf(frame);
      return { value: { text_area: Number((sum / frames.length).toPrecision(6)) }, cost: {} };
    },
    signal,
  );
  return value?.text_area;
}

/** A clip with its share; null where nobody measured it. */
export function withTextArea(one: ScoredClip, area: number | undefined): ScoredClip {
  const text = { text_area: area ?? null };
  const scores = { ...one.scores, ...text };
  return { ...one, scores, columns: { ...one.columns, ...text, scores } };
}
