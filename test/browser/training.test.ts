/** Training in a browser: an adapter that is trained in a page has the bytes of one that is trained in Node on the same adapter. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { serveFolder, type StaticServer } from "../../web/server.ts";
import { launchChromium, troublesOf } from "../support/chromium.ts";
import { inPage } from "../support/example.ts";
import type { trainInPage } from "./training-page.ts";

type Told = Awaited<ReturnType<typeof trainInPage>>;

const ROOT = join(import.meta.dirname, "../..");
/** Inside of the checkout, whose packages it imports. */
const NODE_SCRIPT = join(ROOT, "dist/test/train-adapter.mjs");
/** COGWHEEL_STEPS=50 tries more. */
const STEPS = Number(process.env["COGWHEEL_STEPS"] ?? 6);

let folder: string;
let server: StaticServer;
let browser: Browser;
let page: Page;
let wrong: string[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-training-"));
  const common = { bundle: true, format: "esm", target: "es2022", logLevel: "error" } as const;
  await build({
    ...common,
    entryPoints: [join(import.meta.dirname, "training-page.ts")],
    outfile: join(folder, "page.mjs"),
    platform: "browser",
    conditions: ["browser"],
    loader: { ".wasm": "binary" },
    alias: { "@huggingface/hub": "./node_modules/@huggingface/hub/dist/browser/index.mjs" },
  });
  const contents = `import { trainInPage } from "./training-page.ts";
    console.log(JSON.stringify(await trainInPage(process.argv[2], Number(process.argv[3]))));`;
  await build({
    ...common,
    stdin: { contents, resolveDir: import.meta.dirname },
    outfile: NODE_SCRIPT,
    platform: "node",
    conditions: ["node"],
    packages: "external",
  });
  await cp(join(ROOT, "models/moving-shapes"), join(folder, "moving-shapes"), { recursive: true });
  server = await serveFolder(folder, {
    "index.html": '<!doctype html><html lang="en"><title>training</title><link rel="icon" href="data:,"></html>',
  });
  browser = await launchChromium();
  page = await browser.newPage();
  wrong = troublesOf(page);
  await page.goto(`${server.url}index.html`);
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await server?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

it(`gives the losses and the file that Node gives, in ${STEPS} steps`, { timeout: 600_000 }, async () => {
  const url = `${server.url}moving-shapes/`;
  // Both at once: for the most part they compile kernels, each on one core.
  const [there, { stdout }] = await Promise.all([
    inPage<Told>(page, `return (await import("./page.mjs")).trainInPage(${JSON.stringify(url)}, ${STEPS});`),
    promisify(execFile)(process.execPath, ["dist/launch.js", "--adapter", "swiftshader", "--exec", NODE_SCRIPT, url, String(STEPS)], {
      cwd: ROOT,
      maxBuffer: 1 << 26,
    }),
  ]);
  const here = JSON.parse(stdout) as Told;
  expect(wrong).toEqual([]);
  for (const { adapter } of [there, here]) expect(adapter).toMatch(/swiftshader/i);
  expect(new Set(here.losses).size, "losses that are not all the same").toBe(STEPS);
  expect(there.losses).toEqual(here.losses);
  expect(there.file).toBe(here.file);
});
