/** What the stages take, on films of the packages and on many drawn ones. Every bound is of one run on one machine. */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { FilePathSource, VideoSampleSink } from "mediabunny";
import { curvesOfFilm } from "../../src/curation/curves/read.ts";
import { copyClip } from "../../src/curation/film/cut.ts";
import { openFilm, packetTimes } from "../../src/curation/film/open.ts";
import { encodeBytes } from "../../src/video/formats.ts";
import { drawnFilm } from "../../test/support/shots.ts";
import { footage } from "./peers.ts";

const ROUNDS = 5;
const LAUNCHER = resolve("dist/launch.js");

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
const perSecond = (values: readonly number[]): string => median(values).toFixed(0);
const told: boolean[] = [];
function tell(what: string, value: string, holds: boolean): void {
  told.push(holds);
  console.log(`${holds ? "holds " : "FAILS "} ${what}: ${value}`);
}

/** Frames a second of the decoder alone, each frame's planes copied out as whoever looks at them must, and with the curves. */
async function decoding(path: string): Promise<void> {
  const bare = async (): Promise<number> => {
    using film = await openFilm(new FilePathSource(path), path);
    const began = performance.now();
    let bytes: Uint8Array | undefined;
    let frames = 0;
    for await (const sample of new VideoSampleSink(film.track).samples()) {
      using held = sample;
      bytes ??= new Uint8Array(held.allocationSize());
      await held.copyTo(bytes);
      frames++;
    }
    return (1000 * frames) / (performance.now() - began);
  };
  const measured = async (): Promise<number> => {
    using film = await openFilm(new FilePathSource(path), path);
    const began = performance.now();
    const { curves } = await curvesOfFilm(film, await packetTimes(film, () => {}), () => {});
    return (1000 * curves.frames) / (performance.now() - began);
  };
  await bare();
  await measured();
  const pairs: [number, number][] = [];
  for (let i = 0; i < ROUNDS; i++) pairs.push([await bare(), await measured()]);
  const ratio = median(pairs.map(([a, b]) => b / a));
  const spread = pairs.map(([a, b]) => (b / a).toFixed(2)).join(" ");
  tell(
    `decode and measure ${basename(path)} ≥ 0.8 × the bare loop`,
    `${perSecond(pairs.map(([, b]) => b))} of ${perSecond(pairs.map(([a]) => a))} frames a second, ${ratio.toFixed(2)} (${spread})`,
    ratio >= 0.8,
  );
}

/** Copies of packets beside the film's own time. */
async function copying(path: string): Promise<void> {
  using film = await openFilm(new FilePathSource(path), path);
  const { timestamps } = await packetTimes(film, () => {});
  const seconds = Math.max(...timestamps);
  const times: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const began = performance.now();
    const clip = await copyClip(film, { start: 0, end: 1e6, frames: timestamps.length, fps: 25 });
    if (!clip) throw new Error(`${path} must be copied whole, got nothing`);
    times.push((performance.now() - began) / 1000);
  }
  const factor = seconds / median(times);
  tell(`copying ${basename(path)} ≥ 50 × real time`, `${factor.toFixed(0)} ×`, factor >= 50);
}

/** The same film with another box at its end is another file of the same pictures. */
function boxed(film: Uint8Array, name: string): Buffer {
  const text = Buffer.from(name);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + text.length);
  head.write("free", 4);
  return Buffer.concat([film, head, text]);
}

/** Bytes resident of a process and all below it. */
function residentOf(root: number): number {
  const parents = new Map<number, number>();
  const bytes = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    try {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      parents.set(pid, Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]));
      bytes.set(pid, 1024 * Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1] ?? 0));
    } catch {
      // It ended meanwhile.
    }
  }
  const isBelow = (pid: number): boolean => pid === root || (parents.has(pid) && pid > 1 && isBelow(parents.get(pid)!));
  return [...bytes].reduce((sum, [pid, own]) => sum + (isBelow(pid) ? own : 0), 0);
}

async function memory(path: string, place: string): Promise<void> {
  const videos = join(place, "many");
  mkdirSync(videos);
  const film = readFileSync(path);
  for (let i = 0; i < 200; i++) writeFileSync(join(videos, `film-${i}.mp4`), boxed(film, String(i)));
  const child = spawn(process.execPath, [LAUNCHER, "data", "measure", videos, "--out", join(place, "many-out"), "--json"], {
    stdio: "ignore",
  });
  const samples: number[] = [];
  const timer = setInterval(() => samples.push(residentOf(child.pid!)), 250);
  const code = await new Promise((done) => child.on("close", done));
  clearInterval(timer);
  if (code !== 0) throw new Error(`200 films must be measured, got exit code ${String(code)}`);
  const tenth = Math.max(1, Math.floor(samples.length / 10));
  const start = Math.max(...samples.slice(0, tenth));
  const most = Math.max(...samples);
  const grown = (most - start) / 2 ** 20;
  const MB = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
  tell(
    `memory over 200 films ≤ 300 MB above its start`,
    `${MB(start)} MB in the first tenth, at most ${MB(most)} MB of all processes: ${grown.toFixed(0)} MB`,
    grown <= 300,
  );
}

/** 1,000 films of 10 clips each: a run in which nothing changed, and another threshold. */
async function many(place: string): Promise<void> {
  const videos = join(place, "thousand");
  mkdirSync(videos);
  const { frames } = drawnFilm([{ seed: 3, frames: 244, speed: 0.5 }], { width: 32, height: 32 });
  const film = await encodeBytes(frames, { format: "mp4", fps: 4 });
  for (let i = 0; i < 1000; i++) writeFileSync(join(videos, `film-${String(i).padStart(4, "0")}.mp4`), boxed(film, String(i)));
  const config = (where: string): string => {
    const path = join(place, "config.json");
    writeFileSync(
      path,
      JSON.stringify({ videos, out: join(place, "thousand-out"), cut: { margin: 0, snap: 0 }, filter: { where, duplicates: "keep" } }),
    );
    return path;
  };
  const run = (what: string, where: string): { seconds: number; clips: string } => {
    const file = config(where);
    const began = performance.now();
    const { status, stdout, stderr } = spawnSync(process.execPath, [LAUNCHER, "data", what, file], { encoding: "utf8" });
    if (status !== 0) throw new Error(`data ${what} must end well, got ${status}: ${stderr.slice(-1000)}`);
    const [, clips = ""] = /shot, ([\d,]+) clips/.exec(stdout) ?? [];
    return { seconds: (performance.now() - began) / 1000, clips };
  };
  const first = run("run", "source.start < 5");
  const seconds = [0, 1, 2].map(() => run("run", "source.start < 5").seconds);
  tell(
    `a second run over 1,000 films ≤ 1 s`,
    `${median(seconds).toFixed(2)} s (${seconds.map((s) => s.toFixed(2)).join(" ")}); ` +
      `the first ${first.seconds.toFixed(0)} s, ${first.clips} clips`,
    median(seconds) <= 1,
  );
  const again = [1, 2, 3].map((i) => run("filter", `source.start < ${10 * i} && brightness > 0.0${i}`));
  tell(
    `a new threshold over ${again[0]!.clips} clips ≤ 2 s`,
    `${median(again.map(({ seconds: s }) => s)).toFixed(2)} s (${again.map(({ seconds: s }) => s.toFixed(2)).join(" ")})`,
    median(again.map(({ seconds: s }) => s)) <= 2,
  );
}

export const only = (): readonly string[] => ["decoding", "copying", "memory", "many"];

export async function run(wanted: ReadonlySet<string>): Promise<boolean> {
  // Node's event loop is not held by the codec.
  const held = setInterval(() => {}, 2 ** 30);
  const films = new Map(footage().map((path) => [basename(path), path]));
  const place = mkdtempSync(join(tmpdir(), "cogwheel-figures-"));
  console.log(`${availableParallelism()} cores, Node ${process.version}`);
  try {
    if (wanted.has("decoding")) for (const name of ["bigbuckbunny.mp4", "movie-hello.mp4"]) await decoding(films.get(name)!);
    if (wanted.has("copying")) for (const name of ["bigbuckbunny.mp4", "bikes.mp4"]) await copying(films.get(name)!);
    if (wanted.has("memory")) await memory(films.get("bikes.mp4")!, place);
    if (wanted.has("many")) await many(place);
  } finally {
    rmSync(place, { recursive: true, force: true });
    clearInterval(held);
  }
  return told.every(Boolean);
}
