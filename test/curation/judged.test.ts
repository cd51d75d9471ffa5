/** What a person says of clips: how it is kept, which clips are drawn, and what columns are worth against it. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { f1Of, judgeColumns, shortBetween, youdenOf } from "../../src/curation/label/confusion.ts";
import { JudgedClips } from "../../src/curation/label/judged.ts";
import { drawSample } from "../../src/curation/label/sample.ts";
import { fileLedgerStore } from "../../src/curation/ledger/ledger-node.ts";

it("what was said is kept line by line: the last word counts, one is taken back, and a torn line costs itself alone", async () => {
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-judged-"));
  const path = join(folder, "judged.jsonl");
  try {
    const judged = await JudgedClips.open(fileLedgerStore(path));
    await judged.add({ clip: "a", good: true, labels: [] });
    await Promise.all([
      judged.add({ clip: "b", good: false, labels: ["text"] }),
      judged.add({ clip: "a", good: false, labels: ["lecture"] }),
    ]);
    expect(await judged.undo()).toBe("a");
    expect(judged.all()).toEqual([{ clip: "b", good: false, labels: ["text"] }]);
    await writeFile(path, `${await readFile(path, "utf8")}{"clip":"c","good":3,"labels":[]}\n{"clip":"d","go`);
    const again = await JudgedClips.open(fileLedgerStore(path));
    expect(again.all()).toEqual(judged.all());
    expect(again.broken).toBe(1);
    await again.add({ clip: "e", good: true, labels: [] });
    expect((await JudgedClips.open(fileLedgerStore(path))).all().map(({ clip }) => clip)).toEqual(["b", "e"]);
    await again.undo();
    await again.undo();
    expect(await again.undo()).toBeUndefined();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

it("a sample has rare values of each column, the same ones by the same seed, and clips of which nothing is known", () => {
  // Of a thousand clips three are lectures, and two are sharp.
  const clips = Array.from({ length: 1000 }, (_, i) => ({
    id: `clip${i}`,
    values: { "label.lecture": i < 997 ? (i % 3) / 10 : 0.9, sharpness: i < 2 ? 900 : (i * 37) % 500 },
  }));
  const drawn = drawSample(clips, 40, 0);
  expect(new Set(drawn).size).toBe(40);
  const found = clips.filter(({ id }) => drawn.includes(id));
  expect(found.filter(({ values }) => values["label.lecture"] === 0.9)).toHaveLength(3);
  const quarter = (q: number): number => found.filter(({ values: { sharpness } }) => Math.min(3, Math.floor(sharpness / 125)) === q).length;
  for (const q of [0, 1, 2, 3]) expect(quarter(q)).toBeGreaterThanOrEqual(5);
  expect(drawSample(clips.toReversed(), 40, 0)).toEqual(drawn);
  expect(drawSample(clips, 40, 1)).not.toEqual(drawn);
  expect(drawSample([{ id: "x", values: { aesthetic: null } }], 40, 0)).toEqual(["x"]);
  expect(drawSample(clips, 5000, 0)).toHaveLength(1000);
});

it("the threshold is the best of all, by either criterion, with the counts that say so", () => {
  const values = [0, 0, 0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
  const truth = "nnnnynnyynyy";
  const clips = values.map((value, i) => ({ id: `c${i}`, values: { "label.lecture": value, flicker: value, motion: 5, aesthetic: null } }));
  const said = [...truth].map((one, i) => ({ clip: `c${i}`, good: one === "n", labels: one === "y" ? ["lecture"] : [] }));
  for (const by of ["youden", "f1"] as const) {
    const columns = judgeColumns(clips, said, by);
    const lecture = columns.find(({ column }) => column === "label.lecture")!;
    // Every threshold there is, counted plainly.
    const all = [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85].map((threshold) => {
      const count = (yes: boolean, above: boolean): number =>
        values.filter((value, i) => (truth[i] === "y") === yes && value >= threshold === above).length;
      return { tp: count(true, true), fp: count(false, true), tn: count(false, false), fn: count(true, false) };
    });
    const score = by === "f1" ? f1Of : youdenOf;
    expect(score(lecture.best!.counts)).toBe(Math.max(...all.map(score)));
    expect(all).toContainEqual(lecture.best!.counts);
    expect(lecture).toMatchObject({ tells: "lecture", yes: 5, no: 7, best: { sign: ">=", filter: "label.lecture < 0.5" } });
    // A measure may tell either way: what flickers is not good.
    expect(columns.find(({ column }) => column === "flicker")!.best).toMatchObject({ sign: "<", filter: "flicker < 0.5" });
    for (const name of ["motion", "aesthetic"]) expect(columns.find(({ column }) => column === name)).not.toHaveProperty("best");
  }
  expect(
    judgeColumns(clips, said.slice(0, 4), "f1").every(({ best }) => best === undefined),
    "no lecture among them",
  ).toBe(true);
  expect(judgeColumns(clips, [], "f1")[0]).toMatchObject({ yes: 0, no: 0 });
});

it("a threshold has few digits, and parts the values all the same", () => {
  expect(shortBetween(0.4, 0.5)).toBe(0.5);
  expect(shortBetween(4, 5)).toBe(5);
  expect(shortBetween(0.1234567, 0.1234569)).toBe(0.1234568);
  expect(shortBetween(-2, 3)).toBe(0.5);
  const next = 1 + Number.EPSILON;
  expect(shortBetween(1, next)).toBe(next);
});
