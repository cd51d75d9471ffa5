/** Exports to other trainers' layouts, each read back by the rules of who reads it; what they could not read is refused. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { csvRows, csvText } from "../../src/curation/export/csv.ts";
import { sharedCaptions } from "../../src/curation/export/equal.ts";
import type { WrittenFolder } from "../../src/curation/export/plan.ts";
import { samplesOf } from "../../src/curation/export/rows.ts";
import { splitBySource } from "../../src/curation/export/split.ts";
import { TARGETS } from "../../src/curation/export/targets.ts";
import { exportDataset, folderAt } from "../../src/curation/export/write-node.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { decodeVideo } from "../../src/video/decode.ts";

let folder: string;
/** Names as people give them; the last two are of one stem. */
const FILES = ["videos/a.mp4", "videos/b c.mp4", 'videos/"d", e.v2.mp4', "one/same.mp4", "two/same.mp4"];
const CAPTIONS = [
  'A "red" circle, moving left.',
  "Ein Kreis — größer als zuvor.",
  "Two\u2028lines, and \t more.",
  "A dog runs.",
  "A cat sleeps.",
];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "cogwheel-export-"));
  for (const name of ["videos", "one", "two"]) mkdirSync(join(folder, "data", name), { recursive: true });
  const lines = [];
  for (const [i, file] of FILES.entries()) {
    const frames = Array.from({ length: 3 }, (_, t) => ({ width: 32, height: 16, data: new Uint8Array(32 * 16 * 3).fill(40 * i + t) }));
    await encodeVideo(frames, { path: join(folder, "data", file), fps: 8 });
    const source = { name: `film-${i >> 1}.mp4`, sha256: `${i >> 1}`.repeat(64), start: i, end: i + 1 };
    const scores = { motion: i / 10 };
    lines.push({ file_name: file, caption: CAPTIONS[i], width: 32, height: 16, fps: 8, num_frames: 3, source, scores });
  }
  writeFileSync(join(folder, "data/metadata.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const target = (name: string) => TARGETS.find((one) => one.name === name)!;
const rows = () => samplesOf(readFileSync(join(folder, "data/metadata.jsonl"), "utf8"));
const files = (name: string) =>
  readdirSync(join(folder, name), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name: file }) => file)
    .sort();

describe.each(TARGETS.map(({ name }) => name))("%s", (name) => {
  it("is written, read back, and written the same once more", async () => {
    const bytes: Buffer[][] = [];
    for (const out of [`out-${name}`, `again-${name}`]) {
      const made = await exportDataset({ dataset: join(folder, "data"), target: target(name), out: join(folder, out) });
      expect(made.clips).toEqual({ all: 5 });
      bytes.push(files(out).map((_, i) => readFileSync(pathsOf(join(folder, out))[i]!)));
    }
    const same = name === "open-sora" ? bytes.map((list) => list.slice(1)) : bytes; // whose table holds whole paths
    expect(same[0]!.every((one, i) => one.equals(same[1]![i]!))).toBe(true);
  });

  it("its checker finds a missing clip, a shifted caption and an emptied one", async () => {
    const out = join(folder, `out-${name}`);
    const read = folderAt(out);
    expect(await target(name).check(read, rows())).toEqual([]);
    const shifted = rows().map((row, i, all) => ({ ...row, caption: all[(i + 1) % all.length]!.caption }));
    expect((await target(name).check(read, shifted)).length).toBeGreaterThan(0);
    expect((await target(name).check(read, rows().slice(1))).length).toBeGreaterThan(0);
    if (name === "webdataset") return;
    const [gone] = (await read.list()).filter((path) => path.endsWith(".mp4"));
    const without: WrittenFolder = { ...read, list: async () => (await read.list()).filter((path) => path !== gone) };
    expect((await target(name).check(without, rows())).length).toBeGreaterThan(0);
  });
});

const pathsOf = (root: string): string[] =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

it("lists have a line a clip, and a caption on one line", () => {
  const prompts = readFileSync(join(folder, "out-cogvideo/prompts.txt"), "utf8").split("\n");
  expect(prompts).toEqual([
    'A "red" circle, moving left.',
    "Ein Kreis — größer als zuvor.",
    "Two lines, and more.",
    "A dog runs.",
    "A cat sleeps.",
    "",
  ]);
  const videos = readFileSync(join(folder, "out-cogvideo/videos.txt"), "utf8").trim().split("\n");
  expect(videos[0]).toBe("videos/a.mp4");
  expect(new Set(videos).size).toBe(5);
  for (const path of videos) expect(path).toMatch(/^videos\/[\w-]+\.mp4$/);
});

it("a tar is one that tar itself reads, and the clips in it play", async () => {
  const archive = join(folder, "out-webdataset/shard-000000.tar");
  const { stdout, status } = spawnSync("tar", ["tf", archive], { encoding: "utf8" });
  expect(status).toBe(0);
  expect(stdout.trim().split("\n").length).toBe(15);
  spawnSync("tar", ["xf", archive, "-C", folder, "a.mp4", "a.txt"]);
  expect(readFileSync(join(folder, "a.txt"), "utf8")).toBe(CAPTIONS[0]);
  expect((await decodeVideo(join(folder, "a.mp4"))).frames).toHaveLength(3);
});

describe("what cannot be read is refused, with the names", () => {
  const export_ = (name: string, out: string, dataset = "data") =>
    exportDataset({ dataset: join(folder, dataset), target: target(name), out: join(folder, out) });
  const variant = (name: string, change: (lines: any[]) => any[]): string => {
    const lines = readFileSync(join(folder, "data/metadata.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(
      join(folder, name, "metadata.jsonl"),
      change(lines)
        .map((line) => `${JSON.stringify(line)}\n`)
        .join(""),
    );
    return name;
  };

  it("a place with “videos” in its path, for SAT", async () => {
    await expect(export_("sat", "my-videos/x")).rejects.toThrow(/must not have “videos” in its path, got .*my-videos/);
    await expect(export_("sat", "x.mp4")).rejects.toThrow(/must not have “\.mp4” in its path/);
  });

  it("a folder with files in it", async () => {
    await expect(export_("cogvideo", "out-cogvideo")).rejects.toThrow(/must have a folder of its own/);
    expect(files("out-cogvideo")).toHaveLength(7);
  });

  it.each<[string, (lines: any[]) => any[], string, RegExp]>([
    [
      "a clip without a caption",
      (lines) => [{ ...lines[0], caption: " \n" }, ...lines.slice(1)],
      "cogvideo",
      /got 1 of 5 without one: videos\/a\.mp4/,
    ],
    ["a clip twice", (lines) => [...lines, lines[0]], "cogvideo", /line 6 of metadata.jsonl must be of a clip of its own/],
    ["a path that leads out", (lines) => [{ ...lines[0], file_name: "../a.mp4" }], "cogvideo", /line 1 .* below its folder/],
    ["a picture in a list of films", (lines) => [{ ...lines[0], file_name: "a.png" }], "cogvideo", /got 1 of others: a\.png/],
    ["a film that is no MP4, for SAT", (lines) => [{ ...lines[0], file_name: "a.webm" }], "sat", /SAT reads \.mp4 alone, got 1/],
    ["no sizes, for Open-Sora", (lines) => [{ ...lines[0], width: undefined }], "open-sora", /must have width, height and num_frames/],
    ["a clip that is not there", (lines) => [{ ...lines[0], file_name: "gone.mp4" }], "cogvideo", /must be there, got ENOENT/],
    [
      "one caption for many clips",
      (lines) => lines.map((line) => ({ ...line, caption: "A dog runs!" })),
      "cogvideo",
      /5 × “A dog runs!”: a, /,
    ],
  ])("%s", async (what, change, name, error) => {
    const made = variant(`bad ${what.slice(0, 12)}`, change);
    await expect(export_(name, `none ${what.slice(0, 12)}`, made)).rejects.toThrow(error);
    expect(readdirSync(folder).filter((one) => one.startsWith("none"))).toEqual([]);
  });
});

describe("splits", () => {
  it("no source is on two sides, shares are near, and the same draw comes again", async () => {
    const many = Array.from({ length: 400 }, (_, i) => ({ source: `film-${i % 57}` }));
    const split = splitBySource(many, { validation: 0.1, test: 0.05 });
    const sides = new Map<string, Set<string>>();
    for (const [i, { source }] of many.entries()) sides.set(source, (sides.get(source) ?? new Set()).add(split[i]!));
    expect([...sides.values()].every((side) => side.size === 1)).toBe(true);
    const count = (name: string) => split.filter((one) => one === name).length;
    expect(Math.abs(count("validation") - 40)).toBeLessThan(8);
    expect(Math.abs(count("test") - 20)).toBeLessThan(8);
    expect(splitBySource(many, { validation: 0.1, test: 0.05 })).toEqual(split);
    expect(splitBySource(many, { validation: 0.1, test: 0.05, seed: 1 })).not.toEqual(split);
  });

  it("are folders of their own; too few sources are refused", async () => {
    const out = join(folder, "split");
    const made = await exportDataset({
      dataset: join(folder, "data"),
      target: target("videofolder"),
      out,
      split: { validation: 0.2, test: 0.2 },
    });
    expect(Object.keys(made.clips).sort()).toEqual(["test", "train", "validation"]);
    expect(Object.values(made.clips).reduce((a, b) => a + b)).toBe(5);
    expect(readdirSync(out).sort()).toEqual(["test", "train", "validation"]);
    expect(() => splitBySource([{ source: "a" }, { source: "b" }], { validation: 0.2, test: 0.2 })).toThrow(/each of its 3 parts, got 2/);
    expect(() => splitBySource([{ source: "a" }], { validation: 1 })).toThrow(/below 1 in all/);
  });
});

it("captions that clips of one source share are none of a bad answer", () => {
  const clips = (sources: number) =>
    Array.from({ length: 8 }, (_, i) => ({ id: String(i), caption: `A dog${i % 2 ? "." : "!"}`, source: String(i % sources) }));
  expect(sharedCaptions(clips(1))).toEqual([]);
  expect(sharedCaptions(clips(2))).toEqual([{ caption: "A dog!", ids: ["0", "1", "2", "3", "4", "5", "6", "7"] }]);
});

it("CSV keeps quotes, commas and lines", () => {
  const cells = [["a,b", 'say "x"', "two\nlines", " edge ", ""], ["1"]];
  expect(csvRows(csvText(cells))).toEqual(cells);
});
