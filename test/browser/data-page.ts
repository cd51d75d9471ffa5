/** What test/browser/data.test.ts runs in a page and in Node: from a film in memory to its clips, by `cogwheel-webgpu/data`. */
import {
  bytesTaskFile,
  clipsOf,
  CUT_DEFAULTS,
  type Columns,
  decodeCurves,
  detectTransitions,
  parseFilter,
  runTask,
  scoresOf,
  shotsOf,
} from "../../src/data-page.ts";

export interface LookedAt {
  readonly cuts: readonly number[];
  readonly clips: readonly { readonly from: number; readonly to: number; readonly motion: number; readonly brightness: number }[];
  /** How many of them move. */
  readonly moving: number;
}

export async function lookAt(bytes: Uint8Array<ArrayBuffer> | Blob): Promise<LookedAt> {
  const file = bytesTaskFile("film.webm", bytes);
  const facts = await runTask(file, { task: "scan" }, () => {});
  const scanned = await runTask(file, { task: "curves" }, () => {});
  const curves = decodeCurves(scanned.curves, "film.webm");
  const options = { ...CUT_DEFAULTS, frames: 9, fps: 8, shortest: 0.5, margin: 0, snap: 0 };
  const transitions = detectTransitions(curves, options);
  const clips = clipsOf("film", facts, curves, shotsOf(curves, transitions), options).map(({ from, to }) => {
    const { motion, brightness } = scoresOf(curves, from, to);
    return { from, to, motion, brightness };
  });
  const moves = parseFilter("motion > 0.02");
  return { cuts: transitions.map(({ at }) => at), clips, moving: clips.filter((clip) => moves.takes(clip as unknown as Columns)).length };
}

/** As a person picks it: by range. */
export const lookAtUrl = async (url: string): Promise<LookedAt> => await lookAt(await (await fetch(url)).blob());
