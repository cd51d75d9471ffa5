/** Which model: what is told before much is fetched, and that nothing is fetched until somebody says so. */
import { cp, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect, it } from "vitest";
import { serveFolder } from "../../web/server.ts";
import { axeFor, focused } from "../support/axe.ts";
import { finished, open, ready, set, text, told, usePlayground } from "../support/playground.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoint.ts";

usePlayground();

const PADDING = 3e8;

/** A checkpoint whose transformer's file has much that nobody asks for at its end, and takes no room on a disk. */
async function padded(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "cogwheel-large-"));
  await cp(await tinyCheckpoint(), folder, { recursive: true });
  const path = join(folder, "transformer/diffusion_pytorch_model.safetensors");
  const bytes = await readFile(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const data = bytes.subarray(start);
  const header = JSON.parse(bytes.toString("utf8", 8, start)) as Record<string, unknown>;
  header["padding"] = { dtype: "U8", shape: [PADDING], data_offsets: [data.length, data.length + PADDING] };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  await writeFile(path, Buffer.concat([length, text, data]));
  await truncate(path, 8 + text.length + data.length + PADDING);
  return folder;
}

const openBox = (page: Page): Promise<unknown> =>
  page.locator("#model-box").evaluate((box) => {
    (box as HTMLDetailsElement).open = true;
  });
const says = (page: Page, id: string, pattern: string): Promise<unknown> =>
  page.waitForFunction(([id, pattern]) => new RegExp(pattern!).test(document.getElementById(id!)!.textContent!), [id, pattern], {
    timeout: 120_000,
  });

it("a published model: its size, its licence, whether it fits, and a question before anything is fetched", async () => {
  // The network has no hub here.
  const { page } = await open("", { bypassCSP: true });
  await ready(page);
  await openBox(page);
  await page.waitForFunction(() => document.querySelectorAll("#published .card").length === 5);
  const card = page.locator("#published .card").first();
  expect(await card.innerText()).toMatch(/^CogVideoX-2b\s+13\.\d+ GB\s+Text to video\. From the hub · Apache-2\.0$/);
  const radio = card.locator("input");
  await radio.press("Space");
  await says(page, "fits", "^At 720 × 480, 49 frames it takes [\\d.]+ GB of GPU memory; [\\d.]+ GB would do");
  expect(await text(page, "fetches")).toMatch(
    /^13\.\d+ GB are to be fetched(; this browser has room for|, and this browser has room for) /,
  );
  await (await axeFor(page))("consent");
  await page.click("#start");
  expect(await told(page)).toContain("Say first whether the model is to be fetched.");
  await page.click("#decline");
  expect(await page.isChecked('input[name="model"][value="embedded"]')).toBe(true);
  expect(await focused(page)).toBe("INPUT");
  expect(await page.isHidden("#fetch")).toBe(true);
  await page.context().close();
}, 240_000);

it("a large model elsewhere is looked at, and fetched or read there when that is agreed to", async () => {
  const folder = await padded();
  await using server = await serveFolder(
    folder,
    {},
    {
      headers: {
        "access-control-allow-origin": "*",
        "access-control-expose-headers": "content-range, etag",
        "access-control-allow-headers": "range",
      },
    },
  );
  const { page, wrong } = await open();
  const session = await page.context().newCDPSession(page);
  const { origin } = new URL(page.url());
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 2e8 });
  await ready(page);
  await openBox(page);
  await page.check('input[name="model"][value="url"]');
  await page.fill("#url", server.url);
  await page.press("#url", "Tab");
  // What the page itself keeps takes one or two of the 200.
  await says(page, "fetches", "^300\\.\\d MB are to be fetched, and this browser has room for (200|199|198)\\.\\d MB\\. Free some");
  expect(await page.isDisabled("#agree")).toBe(true);
  await page.click("#decline");

  // With room it is fetched, and stopped: then it is asked for once more.
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 2e9 });
  await page.check('input[name="model"][value="url"]');
  await says(page, "fetches", "^300\\.\\d MB are to be fetched; this browser has room for");
  expect(server.log.filter((line) => line.startsWith("206") && line.includes("safetensors")).length, "sizes alone").toBeLessThan(20);
  await page.click("#agree");
  await page.click("#cancel");
  await page.waitForFunction(() => document.getElementById("outcome")!.textContent!.startsWith("Stopped."));
  await page.waitForSelector("#consent:not([hidden])");
  await page.uncheck("#store");
  expect(await text(page, "fetches")).toMatch(/^Its 300\.\d MB stay where they are/);
  await page.click("#agree");
  await page.waitForFunction(() => (document.getElementById("width") as HTMLInputElement).value === "32");
  await set(page, { steps: "1", frames: "1", seed: "1" });
  await page.click("#start");
  await finished(page);
  expect(wrong).toEqual([]);
  await page.context().close();
  await rm(folder, { recursive: true });
}, 240_000);
