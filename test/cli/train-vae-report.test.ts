/** The report of a VAE's run, and what it is made of: logs that are read again, pictures of some measurements, curves below 0. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { chart, stepAxis, writeReport } from "../../src/cli/train/report-page.ts";
import { HELD_OUT, LOG, RunFolder } from "../../src/cli/train/run-folder.ts";
import { VaeHeldOut } from "../../src/cli/train/vae/held-out.ts";
import { isLogged, type LoggedVaeStep, vaeReportPage } from "../../src/cli/train/vae/report.ts";

let path: string;
let folder: RunFolder;
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "cogwheel-vae-report-"));
  folder = await RunFolder.open(path);
});
afterEach(() => rm(path, { recursive: true, force: true }));

const line = (step: number, loss: number, more: Partial<LoggedVaeStep> = {}): LoggedVaeStep => ({
  ...{ step, loss, losses: { l1: loss, generator: -loss }, clips: 1, gradNorm: 1, lr: 1e-4, seconds: 1, bytes: 1e6, flops: 1e9 },
  ...more,
});
const measured = (step: number) => ({ step, psnr: 20, ssim: 0.5, flicker: 1, l1: 0.1 });

it("keeps steps that were skipped, whose loss is no number", async () => {
  for (const each of [line(1, 2), line(2, Number.NaN, { skipped: true }), line(3, 1), line(4, 1)]) await folder.append(LOG, each);
  await writeFile(join(path, LOG), '{"step":2,"loss":1}\n{"step":3,"lo', { flag: "a" });
  const log = await folder.openLines<LoggedVaeStep>(LOG, 3, isLogged);
  expect(log.map(({ step, loss, skipped }) => [step, loss, skipped])).toEqual([
    [1, 2, undefined],
    [2, null, true],
    [3, 1, undefined],
  ]);
  const page = pageOf(log, []);
  expect(page).toContain("3 of 10, 1 skipped");
  expect(page).not.toContain("NaN");
});

it("shows the first measurement and the last six, as they lie in the folder", async () => {
  await mkdir(join(path, "samples"));
  for (let step = 0; step <= 120; step += 10) {
    await folder.append(HELD_OUT, measured(step));
    await writeFile(join(path, `samples/step-${String(step).padStart(6, "0")}.png`), `png of ${step}`);
  }
  await writeFile(join(path, "samples/step-2000000.png"), "of a later step");
  const heldOut = new VaeHeldOut([], [], folder);
  await heldOut.goOn(110);
  const steps = async (): Promise<number[]> => (await heldOut.pictures()).map(({ step }) => step);
  expect(await steps()).toEqual([0, 60, 70, 80, 90, 100, 110]);
  await rm(join(path, "samples/step-000070.png"));
  expect(await steps()).toEqual([0, 60, 80, 90, 100, 110]);
  const page = pageOf([line(110, 1)], heldOut.measures, await heldOut.pictures());
  expect(page).toContain(`step 110" src="data:image/png;base64,${Buffer.from("png of 110").toString("base64")}"`);
  expect(page).toContain("The first and the last of 12 measurements");
});

it("that cannot be made or written ends no run", async () => {
  const notes: string[] = [];
  const note = (message: string): void => void notes.push(message);
  await writeReport(folder, () => "x".repeat(2 ** 30), note);
  await writeReport(folder, () => Promise.reject(new Error("no picture")), note);
  await rm(path, { recursive: true });
  await writeFile(path, "a file in the folder's place");
  await writeReport(folder, () => "page", note);
  expect(notes).toEqual([
    "The report could not be written: Invalid string length",
    "The report could not be written: no picture",
    expect.stringMatching(/^The report could not be written: ./),
  ]);
});

it("draws values below 0 inside the picture, with a line at 0", () => {
  const heights = (values: readonly number[]): number[] => {
    const drawn = chart("generator", [{ name: "g", points: values.map((v, i) => [i, v] as const) }], stepAxis(10, []));
    return [...drawn.matchAll(/polyline.*?points="([^"]*)"/g)].flatMap(([, points]) =>
      points!.split(" ").map((point) => Number(point.split(",")[1])),
    );
  };
  expect(heights([0, 2, 4])).toEqual([176, 92, 8]);
  expect(heights([-4, 0, 4, Number.NaN])).toEqual([176, 92, 8]);
  expect(heights([-4, -2])).toEqual([176, 92]);
  expect(heights([0, 0])).toEqual([176, 176]);
});

const pageOf = (
  log: readonly LoggedVaeStep[],
  measures: Parameters<typeof vaeReportPage>[0]["measures"],
  pictures: Parameters<typeof vaeReportPage>[0]["pictures"] = [],
): string => vaeReportPage({ title: "t", steps: 10, running: true, facts: {}, stages: [], log, measures, pictures });
