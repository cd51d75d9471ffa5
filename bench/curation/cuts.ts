/** Changes of shot against PySceneDetect's, at the defaults of both; TransNet V2's too, on the engine with the published weights. */
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Curves } from "../../src/curation/curves/columns.ts";
import { DETECT_DEFAULTS, type DetectorName, detectTransitions } from "../../src/curation/cuts/detect.ts";
import { scoreFilm } from "../../src/curation/cuts/score-node.ts";
import { WorkPool } from "../../src/curation/work/pool-node.ts";
import { table } from "../../src/cli/terminal/table.ts";
import { shotNetworkOf } from "../../src/data/shot-network.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { TransNet } from "../../src/models/transnet/model.ts";
import { folderSource } from "../../src/sources/folder.ts";
import { curvesOf, drawnFilms, footage, FOOTAGE_CUTS, type KnownFilm, peers, transNetWeightsFile } from "./peers.ts";

/** Frames that a hard cut may be off by. */
const TOLERANCE = 0;

interface Score {
  right: number;
  found: number;
  real: number;
}

const f1 = ({ right, found, real }: Score): number => (found + real === 0 ? 1 : (2 * right) / (found + real));

function scoreOf(known: readonly KnownFilm[], cutsOf: (path: string) => readonly number[]): Score {
  const score = { right: 0, found: 0, real: 0 };
  for (const { path, cuts, slack } of known) {
    const found = [...cutsOf(path)];
    score.found += found.length;
    score.real += cuts.length;
    for (const cut of cuts) {
      const at = found.findIndex((one) => Math.abs(one - cut) <= TOLERANCE + slack);
      if (at < 0) continue;
      found.splice(at, 1);
      score.right++;
    }
  }
  return score;
}

/** What the network gives each frame of the films, as `cogwheel data` asks it. */
async function networkScores(films: ReadonlyMap<string, Curves>): Promise<Map<string, Float32Array>> {
  const weights = transNetWeightsFile();
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-bench-scores-"));
  await using gpu = await Gpu.open();
  await using source = await folderSource(join(weights, ".."));
  using model = await TransNet.open(gpu, source, basename(weights));
  const network = await shotNetworkOf(model);
  await using pool = new WorkPool(1);
  const scores = new Map<string, Float32Array>();
  for (const [path, { frames }] of films) {
    const to = join(folder, String(scores.size));
    const began = performance.now();
    await scoreFilm(pool, { path, name: path, frames, to }, network);
    console.error(`${basename(path)}: ${frames} frames scored in ${((performance.now() - began) / 1000).toFixed(1)} s`);
    scores.set(path, new Float32Array(Uint8Array.from(await readFile(to)).buffer));
  }
  return scores;
}

/** Whether ours are no worse than theirs, and exact on the footage. */
export async function run(): Promise<boolean> {
  const known: KnownFilm[] = [
    ...footage().map((path) => ({ path, cuts: FOOTAGE_CUTS[basename(path)]!, slack: 0 })),
    ...(await drawnFilms()),
  ];
  const curves = await curvesOf(known.map(({ path }) => path));
  const scores = await networkScores(curves);
  const { cuts: theirs } = await peers<{ cuts: Record<string, Record<string, number[]>> }>({ cuts: known.map(({ path }) => path) });
  const ours = (detectors: readonly DetectorName[]) => (path: string) =>
    detectTransitions(curves.get(path)!, { ...DETECT_DEFAULTS, detectors }, scores.get(path)).map(({ at }) => at);
  const groups: [string, KnownFilm[]][] = [
    ["footage", known.filter(({ path }) => basename(path) in FOOTAGE_CUTS)],
    ["drawn, hard", known.filter(({ path, slack }) => !(basename(path) in FOOTAGE_CUTS) && slack === 0)],
    ["drawn, gradual", known.filter(({ slack }) => slack > 0)],
    ["all", known],
  ];
  const contenders: [string, (path: string) => readonly number[]][] = [
    ["cogwheel, default", ours(DETECT_DEFAULTS.detectors)],
    ...(["adaptive", "content", "histogram"] as const).map(
      (name) => [`cogwheel ${name}`, ours([name])] as [string, (path: string) => number[]],
    ),
    ["cogwheel transnet", ours(["transnet"])],
    ["cogwheel transnet, fades", ours(["transnet", "fades"])],
    ...["adaptive", "content", "histogram"].map(
      (name) => [`PySceneDetect ${name}`, (path) => theirs[path]![name]!] as [string, (path: string) => number[]],
    ),
  ];
  const rows = contenders.map(([name, cutsOf]) => [name, ...groups.map(([, films]) => (100 * f1(scoreOf(films, cutsOf))).toFixed(1))]);
  console.log(`F1 in percent, ${known.length} films, ${scoreOf(known, () => []).real} changes of shot, tolerance ${TOLERANCE} frames`);
  console.log(table(["detector", ...groups.map(([name]) => name)], rows));
  const exact = groups[0]![1].every(({ path, cuts }) =>
    [DETECT_DEFAULTS.detectors, ...(["adaptive", "content", "histogram", "transnet"] as const).map((name) => [name])].every(
      (detectors) => JSON.stringify(ours(detectors)(path)) === JSON.stringify(cuts),
    ),
  );
  const all = (of: (path: string) => readonly number[]): number => f1(scoreOf(known, of));
  const best = Math.max(...["adaptive", "content", "histogram"].map((name) => all((path) => theirs[path]![name]!)));
  const own = all(ours(DETECT_DEFAULTS.detectors));
  console.log(`footage exact by every detector that claims hard cuts: ${exact}; no worse than the best of PySceneDetect: ${own >= best}`);
  return exact && own >= best;
}
