/** The column `motion` against the mean length of OpenCV's Farneback flow, over clips of 2 s of the packages' footage. */
import { basename } from "node:path";
import { scoresOf } from "../../src/curation/measures/scores.ts";
import { curvesOf, footage, peers } from "./peers.ts";

const SECONDS = 2;
/** From one clip's beginning to the next. */
const STRIDE = 0.35;
const LEAST = 0.9;

/** Ranks, the mean of them where values are equal. */
function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!);
  const out = new Array<number>(values.length);
  for (let i = 0; i < order.length; ) {
    let end = i;
    while (end + 1 < order.length && values[order[end + 1]!] === values[order[i]!]) end++;
    for (let j = i; j <= end; j++) out[order[j]!] = (i + end) / 2;
    i = end + 1;
  }
  return out;
}

function pearson(a: readonly number[], b: readonly number[]): number {
  const mean = (of: readonly number[]): number => of.reduce((sum, n) => sum + n, 0) / of.length;
  const [ma, mb] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += (a[i]! - ma) * (b[i]! - mb);
    aa += (a[i]! - ma) ** 2;
    bb += (b[i]! - mb) ** 2;
  }
  return ab / Math.sqrt(aa * bb);
}

export async function run(): Promise<boolean> {
  const paths = footage();
  const curves = await curvesOf(paths);
  const windows: Record<string, [number, number][]> = {};
  const ours: number[] = [];
  const names: string[] = [];
  for (const [path, of] of curves) {
    windows[path] = [];
    for (let start = 0; start + Math.min(SECONDS, of.end) <= of.end + 1e-6; start += STRIDE) {
      const end = Math.min(of.end, start + SECONDS);
      windows[path].push([start, end]);
      ours.push(scoresOf(of, of.frameAt(start), of.frameAt(end)).motion);
      names.push(basename(path));
    }
  }
  const { motion } = await peers<{ motion: Record<string, number[]> }>({ motion: windows, every: 0.12 });
  const theirs = [...curves.keys()].flatMap((path) => motion[path]!);
  const rho = pearson(ranks(ours), ranks(theirs));
  for (const name of new Set(names)) {
    const at = names.flatMap((one, i) => (one === name ? [i] : []));
    const mean = (of: readonly number[]): string => (at.reduce((sum, i) => sum + of[i]!, 0) / at.length).toFixed(4);
    console.log(`${name.padEnd(26)} ${String(at.length).padStart(3)} clips  motion ${mean(ours)}  Farneback ${mean(theirs)}`);
  }
  console.log(`${ours.length} clips of ${SECONDS} s: Spearman's correlation ${rho.toFixed(3)}, at least ${LEAST}: ${rho >= LEAST}`);
  return rho >= LEAST;
}
