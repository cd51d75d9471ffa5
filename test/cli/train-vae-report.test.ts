/** The report of a VAE's run, and what it is made of: logs that are read again, pictures of some measurements, curves below 0. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { chart, type ChartRange, stepAxis, writeReport } from "../../src/cli/report/page.ts";
import { HELD_OUT, LOG, RunFolder } from "../../src/cli/train/run-folder.ts";
import { Samples } from "../../src/cli/train/samples.ts";
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
  const heldOut = new VaeHeldOut([], [], folder, 10);
  await heldOut.goOn(110);
  const steps = async (): Promise<number[]> => (await heldOut.pictures()).map(({ step }) => step);
  expect(await steps()).toEqual([0, 60, 70, 80, 90, 100, 110]);
  await rm(join(path, "samples/step-000070.png"));
  expect(await steps()).toEqual([0, 60, 70, 80, 90, 100, 110]);
  const page = pageOf([line(110, 1)], heldOut.measures, await heldOut.pictures());
  expect(page).toContain(`step 110" src="data:image/png;base64,${Buffer.from("png of 110").toString("base64")}"`);
  expect(page).toContain("The first and the last of 12 measurements");
  expect(page).toContain("<th>70</th><td>(reconstructions, step 70: the picture is not in samples/ any more)</td>");
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

it("draws PSNR between its least and its most, amounts from 0, one point as a dot, and cuts no label off", () => {
  const drawn = (values: readonly number[], from?: ChartRange, marks: readonly { at: number; name: string }[] = []): string =>
    chart("c", [{ name: "c", points: values.map((v, i) => [i, v] as const) }], { most: 10, unit: "step 10", marks }, from);
  const labels = (page: string): string[] => [...page.matchAll(/text-anchor="end">([\d.e+-]+)</g)].map(([, text]) => text!);
  expect(labels(drawn([27.1, 27.12]))).toEqual(["0", "13.6", "27.1"]);
  expect(labels(drawn([27.1, 27.12], "least"))).toEqual(["27.10", "27.11", "27.12"]);
  expect(labels(drawn([30], "least"))).toEqual(["28.5", "30.0", "31.5"]);
  expect(labels(drawn([1210]))).toEqual(["0", "605", "1210"]);
  expect(labels(drawn([2.24e-6]))).toEqual(["0", "1.12e-6", "2.24e-6"]);
  // One that would flatten the rest ends at the edge, and is told.
  expect(labels(drawn([9, 2, 2, 2], "usual"))).toEqual(["0", "3.00", "6.00"]);
  expect(drawn([9, 2, 2, 2], "usual")).toMatch(/,8\.0 [^]*<small>above the edge: up to 9.00</);
  expect(labels(drawn([2, 2, 4], "usual"))).toEqual(["0", "2.00", "4.00"]);
  expect(drawn([2, 2, 4], "usual")).not.toContain("above");
  expect(drawn([0, 0, 4], "usual")).toContain("<small></small>");
  expect(drawn([30], "least")).toMatch(/<circle cx="[\d.]+" cy="92\.0"/);
  const wide = drawn([-1234567.25, -1234567], "least");
  const [, at] = /<text x="([\d.]+)" y="[\d.]+" text-anchor="end">-1234567\.3</.exec(wide)!;
  expect(Number(at)).toBeGreaterThan(6 * "-1234567.3".length);
  // A name that has no room on its right stands on the left of its line.
  expect(drawn([1, 2], "zero", [{ at: 9, name: "stage 2, 256x256, 17 frames" }])).toMatch(/text-anchor="end">stage 2, 256x256, 17 frames</);
});

it("keeps pictures of the first step, the last ones and at most 64 between, the same ones after a break", async () => {
  const png = new Uint8Array([1]);
  const made = async (steps: readonly number[], from = 0): Promise<string[]> => {
    const samples = new Samples(folder, 2, 10);
    await samples.goOn(from);
    for (const step of steps) await samples.add(step, [png, png]);
    return (await readdir(join(path, "samples"))).sort();
  };
  const steps = Array.from({ length: 200 }, (_, i) => 10 * i);
  const whole = await made(steps);
  expect(whole.length).toBe(2 * (50 + 5));
  expect([whole[0], whole[1], whole.at(-1)]).toEqual(["step-000000-1.png", "step-000000-2.png", "step-001990-2.png"]);
  expect(await made(steps.slice(100), 990)).toEqual(whole);
});

const pageOf = (
  log: readonly LoggedVaeStep[],
  measures: Parameters<typeof vaeReportPage>[0]["measures"],
  pictures: Parameters<typeof vaeReportPage>[0]["pictures"] = [],
): string => vaeReportPage({ title: "t", steps: 10, running: true, facts: {}, stages: [], log, measures, pictures });
