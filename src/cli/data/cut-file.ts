/** `cogwheel data cut FILE`: changes of shot of one film, for whoever asks; nothing is cut, and nothing stays. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeCurves } from "../../curation/curves/columns.ts";
import { detectTransitions } from "../../curation/cuts/detect.ts";
import { CUT_DEFAULTS, type CutOptions } from "../../curation/options.ts";
import { WorkPool } from "../../curation/work/pool-node.ts";
import { print, printJson } from "../terminal/output.ts";

/** What is printed. */
export interface FileCuts {
  readonly file: string;
  readonly fps: number;
  readonly frames: number;
  /** First frames of new shots, counted from 0. */
  readonly cuts: readonly number[];
}

export async function cutsOfFile(file: string, options: Partial<CutOptions>): Promise<FileCuts> {
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-cut-"));
  try {
    await using pool = new WorkPool(1);
    const to = join(folder, "curves");
    await pool.run({ path: file, name: file, task: { task: "curves" }, to });
    const curves = decodeCurves(new Uint8Array(await readFile(to)), file);
    return {
      file,
      fps: curves.end > 0 ? Number((curves.frames / curves.end).toFixed(4)) : 0,
      frames: curves.frames,
      cuts: detectTransitions(curves, { ...CUT_DEFAULTS, ...options }).map(({ at }) => at),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export async function printCuts(file: string, options: Partial<CutOptions>, json: boolean): Promise<void> {
  const found = await cutsOfFile(file, options);
  if (json) return printJson(found);
  print(`${found.frames} frames, ${found.fps} a second; first frames of new shots: ${found.cuts.join(" ") || "none"}`);
}
