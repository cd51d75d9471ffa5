/** A page of a browser that runs a module of the tests, bundled as an app's bundler does it: `import("./page.mjs")` in it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll } from "vitest";
import { serveFolder, type StaticServer } from "../../web/server.ts";
import { launchChromium, troublesOf } from "./chromium.ts";

export interface BundledPage {
  page: Page;
  /** What went wrong in it. */
  wrong: readonly string[];
  /** Of the site that it is a page of. */
  url: string;
}

/** Has it for the tests of a file. @param prepare puts more files into the site's folder */
export function useBundledPage(entry: string, prepare?: (folder: string) => Promise<void>): BundledPage {
  const opened = {} as BundledPage;
  let folder: string | undefined;
  let server: StaticServer | undefined;
  let browser: Browser | undefined;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "cogwheel-page-"));
    await build({
      entryPoints: [entry],
      outfile: join(folder, "page.mjs"),
      bundle: true,
      format: "esm",
      target: "es2022",
      platform: "browser",
      conditions: ["browser"],
      loader: { ".wasm": "binary" },
      alias: { "@huggingface/hub": "./node_modules/@huggingface/hub/dist/browser/index.mjs" },
      logLevel: "error",
    });
    await prepare?.(folder);
    server = await serveFolder(folder, {
      "index.html": '<!doctype html><html lang="en"><title>page</title><link rel="icon" href="data:,"></html>',
    });
    browser = await launchChromium();
    const page = await browser.newPage();
    Object.assign(opened, { page, wrong: troublesOf(page), url: server.url });
    await page.goto(`${server.url}index.html`);
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await server?.[Symbol.asyncDispose]();
    if (folder) await rm(folder, { recursive: true, force: true });
  });
  return opened;
}
