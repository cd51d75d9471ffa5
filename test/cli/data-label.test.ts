/** Labels of `cogwheel data` as a user has them: a local server judges drawn films, and filters, the report and `why` go by it. */
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { LABEL_NAMES } from "../../src/curation/label/labels.ts";
import { type Asked, chatServer } from "../support/chat-server.ts";
import { useDataCommand, SHAPE } from "../support/data-command.ts";
import type { Ended } from "../support/watched.ts";

const { folder, run, rows } = useDataCommand({ film: [1, 2, 3, 4] });
const data = (...args: string[]): Promise<Ended> => run(args);
/** The first one that is asked about is ugly. */
const judge = ({ index }: Pick<Asked, "index">): string =>
  JSON.stringify({ ...Object.fromEntries(LABEL_NAMES.map((name) => [name, 1])), watermark: 0, aesthetic: index === 0 ? 2 : 6 });

it("labels what cheaper measures keep, drops by it, and tells it in the rows, the report and why", { timeout: 120_000 }, async () => {
  const where = "aesthetic >= 4.5 && source.start < 8 && label.lecture < 0.5";
  const refused = await data("run", ...SHAPE, "--where", where);
  expect([refused.code, refused.err]).toEqual([2, expect.stringContaining("a filter by labels must have a model that gives them")]);
  await using server = await chatServer({ models: { data: [{ id: "eyes" }] }, answer: judge });
  const args = ["run", ...SHAPE, "--where", where, "--label-url", server.url];
  const estimate = await data(...args, "--dry-run");
  expect(estimate.out, estimate.err).toContain("Labels of all 3 clips are there, and nothing is left to ask (now 3 requests");
  const made = await data(...args, "--json");
  expect(made.code, made.err).toBe(0);
  const told = JSON.parse(made.out);
  expect(server.asked, "the last clip is not asked about, and nothing twice").toHaveLength(3);
  expect(told).toMatchObject({
    label: { labelled: 3, failed: [], spent: { requests: 0 } },
    kept: 2,
    dropped: { "source.start < 8": 1, "aesthetic >= 4.5": 1, "label.lecture < 0.5": 0, duplicate: 0 },
  });
  expect(rows()).toHaveLength(2);
  for (const row of rows())
    expect(row).toMatchObject({ scores: { aesthetic: 6, watermark: 0 }, label: { text: 0.1 }, label_source: "tiny", label_error: null });
  const [id] = /[0-9a-f]{16}/.exec(rows()[0].file_name)!;
  const why = await data("why", "set", id);
  expect(why.out).toMatch(/label +aesthetic 6, watermark 0, editing 0\.1.*, by tiny/);
  const report = readFileSync(join(folder, "set/report.html"), "utf8");
  expect(report).toContain('data-column="aesthetic"');
  expect(report).toContain('data-column="label.lecture"');

  await writeFile(join(folder, "severe.txt"), "Judge severely.\n");
  await writeFile(
    join(folder, "config.json"),
    JSON.stringify({ videos: "raw", out: "set", cut: { frames: 17 }, label: { url: server.url, instructions: "severe.txt", all: true } }),
  );
  const anew = await data("filter", "config.json", "--json");
  expect(anew.code, anew.err).toBe(0);
  expect(server.asked, "other instructions ask anew, and all clips where that is wanted").toHaveLength(7);
  expect(server.asked[3]!.body.messages[0].content).toBe("Judge severely.");
});

it("a clip without labels fails filters by them, is named, and is told by the exit code", { timeout: 60_000 }, async () => {
  await using server = await chatServer({ models: { data: [{ id: "eyes" }] }, answer: () => "no" });
  const made = await data("run", "raw", "--out", "failing", "--frames", "17", "--label-url", server.url, "--where", "aesthetic > 1");
  expect(made.code).toBe(3);
  expect(made.out).toMatch(/no labels: [0-9a-f]{16}\n {2}\[endpoint\].*must hold a JSON object/);
  expect(made.out).toContain("0 clips in the data set");
});
