/** Changes of shot against PySceneDetect's, at the defaults of both. */
import { basename } from "node:path";
import { DETECT_DEFAULTS, type DetectorName, detectTransitions } from "../../src/curation/cuts/detect.ts";
import { table } from "../../src/cli/terminal/table.ts";
import { curvesOf, drawnFilms, footage, FOOTAGE_CUTS, type KnownFilm, peers } from "./peers.ts";

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

/** Whether ours are no worse than theirs, and exact on the footage. */
export async function run(): Promise<boolean> {
  const known: KnownFilm[] = [
    ...footage().map((path) => ({ path, cuts: FOOTAGE_CUTS[basename(path)]!, slack: 0 })),
    ...(await drawnFilms()),
  ];
  const curves = await curvesOf(known.map(({ path }) => path));
  const { cuts: theirs } = await peers<{ cuts: Record<string, Record<string, number[]>> }>({ cuts: known.map(({ path }) => path) });
  const ours = (detectors: readonly DetectorName[]) => (path: string) =>
    detectTransitions(curves.get(path)!, { ...DETECT_DEFAULTS, detectors }).map(({ at }) => at);
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
    ...["adaptive", "content", "histogram"].map(
      (name) => [`PySceneDetect ${name}`, (path) => theirs[path]![name]!] as [string, (path: string) => number[]],
    ),
  ];
  const rows = contenders.map(([name, cutsOf]) => [name, ...groups.map(([, films]) => (100 * f1(scoreOf(films, cutsOf))).toFixed(1))]);
  console.log(`F1 in percent, ${known.length} films, ${scoreOf(known, () => []).real} changes of shot, tolerance ${TOLERANCE} frames`);
  console.log(table(["detector", ...groups.map(([name]) => name)], rows));
  const exact = groups[0]![1].every(({ path, cuts }) =>
    [DETECT_DEFAULTS.detectors, ...(["adaptive", "content", "histogram"] as const).map((name) => [name])].every(
      (detectors) => JSON.stringify(ours(detectors)(path)) === JSON.stringify(cuts),
    ),
  );
  const all = (of: (path: string) => readonly number[]): number => f1(scoreOf(known, of));
  const best = Math.max(...["adaptive", "content", "histogram"].map((name) => all((path) => theirs[path]![name]!)));
  const own = all(ours(DETECT_DEFAULTS.detectors));
  console.log(`footage exact by every detector that claims hard cuts: ${exact}; no worse than the best of PySceneDetect: ${own >= best}`);
  return exact && own >= best;
}
