/** `cogwheel data cut FILE`: changes of shot of one film, for whoever asks; nothing is cut, and nothing stays. */
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CogwheelError } from "../../base/errors.ts";
import { decodeCurves } from "../../curation/curves/columns.ts";
import { detectTransitions } from "../../curation/cuts/detect.ts";
import type { ShotNetwork } from "../../curation/cuts/network.ts";
import { scoreFilm } from "../../curation/cuts/score-node.ts";
import { CUT_DEFAULTS, type CutOptions } from "../../curation/options.ts";
import { WorkPool } from "../../curation/work/pool-node.ts";
import { print, printJson } from "../terminal/output.ts";
import { checkDataKeys } from "./keys.ts";
import { type TransNetChoice, transNetDetectors } from "./transnet-choice.ts";

/** What is printed. */
export interface FileCuts {
  readonly file: string;
  readonly fps: number;
  readonly frames: number;
  /** First frames of new shots, counted from 0. */
  readonly cuts: readonly number[];
}

export async function cutsOfFile(file: string, options: Partial<CutOptions>, network?: ShotNetwork): Promise<FileCuts> {
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-cut-"));
  try {
    await using pool = new WorkPool(1);
    const to = join(folder, "curves");
    await pool.run({ path: file, name: file, task: { task: "curves" }, to });
    const curves = decodeCurves(new Uint8Array(await readFile(to)), file);
    const chosen = { ...CUT_DEFAULTS, ...options };
    let scores: Float32Array | undefined;
    if (network && chosen.detectors.includes("transnet")) {
      const at = join(folder, "scores");
      await scoreFilm(pool, { path: file, name: file, frames: curves.frames, to: at }, network);
      scores = new Float32Array(Uint8Array.from(await readFile(at)).buffer);
    }
    return {
      file,
      fps: curves.end > 0 ? Number((curves.frames / curves.end).toFixed(4)) : 0,
      frames: curves.frames,
      cuts: detectTransitions(curves, chosen, scores).map(({ at }) => at),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export interface CutFileFlags extends TransNetChoice {
  readonly json?: boolean;
}

export async function printCuts(file: string, { transnet, detectors: given, json }: CutFileFlags): Promise<void> {
  if (!(await stat(file)).isFile())
    throw new CogwheelError("scan", `${file} must be a file, got a device or a pipe, which may never end; save what comes out of it first`);
  const detectors = transNetDetectors({ transnet, detectors: given });
  checkDataKeys({ cut: { ...(detectors ? { detectors } : {}) } }, "the command line");
  const cuts = async (network?: ShotNetwork): Promise<FileCuts> => await cutsOfFile(file, detectors ? { detectors } : {}, network);
  const found = transnet === undefined ? await cuts() : await (await import("./transnet.ts")).withShotNetwork(transnet, cuts);
  if (json) return printJson(found);
  print(`${found.frames} frames, ${found.fps} a second; first frames of new shots: ${found.cuts.join(" ") || "none"}`);
}
