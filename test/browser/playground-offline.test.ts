/** The playground without a network, after it was used once. */
import { join } from "node:path";
import { expect, it } from "vitest";
import { siteHeaders } from "../../web/headers.ts";
import { serveFolder } from "../../web/server.ts";
import { finished, folder, inWorker, open, ready, ROOT, set, usePlayground } from "../support/playground.ts";

usePlayground();

it("makes the same video without its server, and can be installed", { timeout: 300_000 }, async () => {
  const site = join(ROOT, "dist/web");
  const server = await serveFolder(folder, {}, { compress: true, headers: await siteHeaders(site) });
  const { page, wrong } = await open("", { url: server.url });
  await ready(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  const manifest = await page.evaluate(async () => {
    const { href } = document.querySelector<HTMLLinkElement>('link[rel="manifest"]')!;
    return (await (await fetch(href)).json()) as { start_url: string; icons: { src: string }[] };
  });
  expect(new URL(manifest.start_url, page.url()).href).toBe(new URL("index.html", page.url()).href);
  const makes = async (): Promise<number[]> => {
    await set(page, { steps: "1", frames: "1", seed: "1" });
    await page.click("#start");
    await finished(page);
    return await inWorker<number[]>(page, "[...cogwheel.video.frames[0].data]");
  };
  const before = server.log.length;
  const first = await makes();
  const asked = server.log.slice(before).filter((line) => line.includes("models/moving-shapes"));
  expect(asked.length, "the checkpoint's files").toBeGreaterThan(2);
  expect(
    asked.map((line) => line.slice(0, 3)),
    "each is fetched as a whole",
  ).toEqual(asked.map(() => "200"));
  expect(new Set(asked).size, "once").toBe(asked.length);

  await server[Symbol.asyncDispose]();
  await page.reload();
  await ready(page);
  expect(await makes()).toEqual(first);
  expect(wrong.filter((line) => !line.includes("ERR_CONNECTION_REFUSED"))).toEqual([]);
  await page.context().close();
});
