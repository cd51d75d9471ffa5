/** The playground before and beside a generation: how long it will take, whose weights it has, and what of prompts is kept. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect, it } from "vitest";
import { chooseFolder, finished, inWorker, open, ready, set, text, told, usePlayground } from "../support/playground.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoint.ts";

usePlayground();

const plan = (page: Page, pattern: string): Promise<unknown> =>
  page.waitForFunction((pattern) => new RegExp(pattern).test(document.getElementById("plan")!.textContent!), pattern, { timeout: 200_000 });
const tiny = async (page: Page): Promise<string> => {
  const checkpoint = await tinyCheckpoint();
  await chooseFolder(page, checkpoint);
  await page.waitForFunction(() => (document.getElementById("width") as HTMLInputElement).value === "32");
  await set(page, { steps: "2", frames: "1", seed: "5" });
  return checkpoint;
};
const made = async (page: Page): Promise<number[]> => {
  await page.click("#start");
  await page.waitForSelector("#run:not([hidden])");
  await finished(page);
  return await inWorker<number[]>(page, "[...cogwheel.video.frames[0].data]");
};

it("tells the seconds of each stage once the GPU was measured, and again when settings change", async () => {
  const { page, wrong } = await open();
  await ready(page);
  const checkpoint = await tiny(page);
  expect(await text(page, "plan")).not.toContain("about");
  await page.click("#time");
  const TOLD = "at its most, and about [\\d.]+ (s|min): text encoder .*, transformer .*, decoder .*\\.$";
  await plan(page, TOLD);
  const before = await text(page, "plan");
  await set(page, { steps: "500" });
  await page.waitForFunction((before) => document.getElementById("plan")!.textContent !== before, before);
  await plan(page, TOLD);
  const stage = (told: string): number => {
    const [, amount, unit] = /transformer ([\d.]+) (s|min)/.exec(told)!;
    return Number(amount) * (unit === "min" ? 60 : 1);
  };
  expect(stage(await text(page, "plan")), "of 500 steps in place of 2").toBeGreaterThan(stage(before));
  await page.waitForFunction(() => document.querySelector('#frames option[value="9"]')!.textContent!.includes("about"));
  const lengths = await page.locator("#frames option").allTextContents();
  expect(lengths.slice(0, 2)).toEqual([
    expect.stringMatching(/^A picture \(1 frame\) · about [\d.]+ (s|min)$/),
    expect.stringMatching(/^1\.1 s \(9 frames\) · about [\d.]+ (s|min|h)/),
  ]);
  // The browser keeps what was measured. The folder must be chosen again, for a page may not open one by itself.
  await page.reload();
  expect(await text(page, "plan")).toBe("");
  await chooseFolder(page, checkpoint);
  await plan(page, TOLD);
  expect(wrong).toEqual([]);
  await page.context().close();
}, 240_000);

it("a generation does not wait for a measurement that is under way", async () => {
  const { page, wrong } = await open();
  await ready(page);
  await set(page, { steps: "1", frames: "1", seed: "1" });
  await page.click("#time");
  await page.waitForFunction(() => document.getElementById("doing")!.textContent!.startsWith("Measure this GPU"));
  await page.click("#start");
  await finished(page);
  expect(await inWorker<number>(page, "cogwheel.rates.size"), "what was given up is not kept").toBe(0);
  expect(await page.isEnabled("#time")).toBe(true);
  expect(wrong).toEqual([]);
  await page.context().close();
}, 240_000);

it("takes files in place of a model's own weights, and its own again", async () => {
  const { page, wrong } = await open();
  await ready(page);
  const checkpoint = await tiny(page);
  const own = await made(page);
  // Every weight of the transformer, negated.
  const bytes = await readFile(join(checkpoint, "transformer/diffusion_pytorch_model.safetensors"));
  const header = 8 + Number(bytes.readBigUInt64LE(0));
  const types = new Set([...bytes.toString("utf8", 8, header).matchAll(/"dtype":\s*"(\w+)"/g)].map(([, type]) => type));
  expect([...types], "whose signs are negated here").toEqual(["F32"]);
  for (let at = header + 3; at < bytes.length; at += 4) bytes[at] = bytes[at]! ^ 0x80;
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-part-"));
  await writeFile(join(folder, "negated.safetensors"), bytes);
  await writeFile(join(folder, "broken.safetensors"), bytes.subarray(0, 5000));
  await page.setInputFiles("#part-transformer", join(folder, "negated.safetensors"));
  expect(await made(page)).not.toEqual(own);
  await page.setInputFiles("#part-transformer", join(folder, "broken.safetensors"));
  await page.waitForSelector("#notice:not([hidden])");
  expect(await told(page)).toMatch(/broken\.safetensors.*truncated/);
  await page.locator("#advanced").evaluate((box) => {
    (box as HTMLDetailsElement).open = true;
  });
  await page.click("#parts-clear");
  await page.waitForSelector("#notice", { state: "hidden" });
  expect(await made(page)).toEqual(own);
  expect(await page.isHidden("#parts-clear")).toBe(true);
  await rm(folder, { recursive: true });
  expect(wrong).toEqual([]);
  await page.context().close();
}, 240_000);

it("says how many encoded prompts this browser keeps, and forgets them", async () => {
  const { page, wrong } = await open();
  await ready(page);
  await page.locator("#advanced").evaluate((box) => {
    (box as HTMLDetailsElement).open = true;
  });
  const kept = (says: string): Promise<unknown> =>
    page.waitForFunction((says) => document.getElementById("prompts-kept")!.textContent!.includes(says), says);
  await kept("No encoded prompts are kept in this browser.");
  await tiny(page);
  const first = await made(page);
  await kept("1 encoded prompt is kept in this browser");
  await page.fill("#prompt", "another one");
  await made(page);
  await kept("2 encoded prompts are kept in this browser");
  await page.click("#prompts-forget");
  await kept("No encoded prompts are kept in this browser.");
  expect(await page.isHidden("#prompts-forget")).toBe(true);
  await page.fill("#prompt", "a red circle moving left on a black background");
  expect(await made(page), "encoded anew").toEqual(first);
  expect(wrong).toEqual([]);
  await page.context().close();
}, 240_000);

it("offers the lengths that a model can make, and keeps one that a link asks for where it can", async () => {
  const { page, wrong } = await open("#frames=24&fps=8");
  await ready(page);
  const lengths = (): Promise<string[]> => page.locator("#frames option").allTextContents();
  expect(await lengths()).toEqual([
    "A picture (1 frame)",
    "1.1 s (9 frames)",
    "2.1 s (17 frames)",
    "3 s (24 frames)",
    "3.1 s (25 frames)",
    "4.1 s (33 frames)",
  ]);
  expect(await page.locator("#frames optgroup option").first().textContent(), "beyond what it has learned").toBe("3 s (24 frames)");
  expect(await page.inputValue("#frames")).toBe("24");
  await set(page, { fps: "16" });
  expect((await lengths())[1]).toBe("0.6 s (9 frames)");
  await page.context().close();
  const other = await open("#frames=10");
  await ready(other.page);
  expect(await other.page.inputValue("#frames"), "what it cannot make is its own advice").toBe("17");
  expect(wrong).toEqual([]);
  await other.page.context().close();
}, 120_000);
