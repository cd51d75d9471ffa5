/** The report of a run, and the table of what a run can be told. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { nearestName } from "../../src/base/near-name.ts";
import { checkKeys, TRAIN_KEYS } from "../../src/cli/train/keys.ts";
import { smoothed } from "../../src/cli/report/page.ts";
import { reportPage, type Report } from "../../src/cli/train/report.ts";

const report = (over: Partial<Report> = {}): string =>
  reportPage({
    title: `Training on <clips> & "more"`,
    steps: 10,
    running: true,
    facts: { model: "m" },
    timesteps: 1000,
    log: [1, 2, 3].map((step) => ({
      step,
      loss: step,
      clips: [
        { timestep: 10, loss: 4 },
        { timestep: 999, loss: step },
      ],
      gradNorm: 0.5,
      lr: 1e-4,
      seconds: 1,
      bytes: 2e6,
      flops: 1e12,
      ...(step === 2 ? { skipped: true as const } : {}),
    })),
    clips: [{ step: 0, strips: [{ prompt: "a <star>", png: new Uint8Array([1, 2, 3]) }] }],
    ...over,
  });

it("is one file without anything from elsewhere, which loads itself again while the run goes on", () => {
  const page = report();
  expect(page).toContain('http-equiv="refresh"');
  expect(report({ running: false })).not.toContain("refresh");
  expect(page.match(/(?:src|href)="(?!data:)/g)).toBeNull();
  expect(page).not.toMatch(/<script|@import|url\(/);
  expect(page).toContain("Training on &lt;clips&gt; &amp; &quot;more&quot;");
  expect(page).toContain('alt="a &lt;star&gt;, step 0" src="data:image/png;base64,AQID"');
});

it("draws the loss by quarters of the timesteps, and tells coverage and skipped steps", () => {
  const page = report();
  const [, quarters] = /<section><h2>loss, by quarter of the timesteps<\/h2>(.*?)<\/section>/s.exec(page)!;
  const lines = [...quarters!.matchAll(/points="([^"]*)"/g)].map(([, points]) => points!.split(" ").filter(Boolean).length);
  expect(lines).toEqual([3, 0, 0, 3]);
  expect(page).toContain("3 of 10, 1 skipped, whose gradients were not finite");
  expect(page).toContain("3, 0, 0, 0, 0, 0, 0, 0, 0, 3 by tenths");
});

it("draws a long run by means, and leaves out what is not finite", () => {
  const points = smoothed(Array.from({ length: 30_000 }, (_, i) => [i, i % 2 ? 1 : 3] as const));
  expect(points.length).toBe(300);
  expect(points.every(([, y]) => y === 2)).toBe(true);
  expect(
    smoothed([
      [1, Number.NaN],
      [2, 5],
    ]),
  ).toEqual([[2, 5]]);
});

it("docs/training.md has every key with its words", () => {
  const page = readFileSync("docs/training.md", "utf8");
  for (const [name, { help, otherwise }] of Object.entries(TRAIN_KEYS)) expect(page).toContain(`| \`${name}\` | ${help} | ${otherwise} |`);
});

it.each([
  ["weightdecay", "weightDecay"],
  ["learning-rate", undefined],
  ["setps", "steps"],
  ["max_grad_norm", "maxGradNorm"],
  ["checkpoint_every", "checkpointEvery"],
  ["zzzzzz", undefined],
])("the key nearest to %s is %s", (name, want) => {
  expect(nearestName(name, Object.keys(TRAIN_KEYS))).toBe(want);
  expect(() => checkKeys({ [name]: 1 }, "c.json")).toThrow(`c.json: a key must be one of those in docs/training.md, got "${name}"`);
});
