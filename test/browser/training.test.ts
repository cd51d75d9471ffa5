/** Training in a browser: an adapter that is trained in a page has the bytes of one that is trained in Node on the same adapter. */
import { execFile } from "node:child_process";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { beforeAll, expect, it } from "vitest";
import { useBundledPage } from "../support/bundled-page.ts";
import { inPage } from "../support/example.ts";
import type { trainInPage } from "./training-page.ts";

type Told = Awaited<ReturnType<typeof trainInPage>>;

const ROOT = join(import.meta.dirname, "../..");
/** Inside of the checkout, whose packages it imports. */
const NODE_SCRIPT = join(ROOT, "dist/test/train-adapter.mjs");
/** COGWHEEL_STEPS=50 tries more. */
const STEPS = Number(process.env["COGWHEEL_STEPS"] ?? 6);

const site = useBundledPage(join(import.meta.dirname, "training-page.ts"), async (folder) => {
  await cp(join(ROOT, "models/moving-shapes"), join(folder, "moving-shapes"), { recursive: true });
});

beforeAll(async () => {
  const contents = `import { trainInPage } from "./training-page.ts";
    console.log(JSON.stringify(await trainInPage(process.argv[2], Number(process.argv[3]))));`;
  await build({
    stdin: { contents, resolveDir: import.meta.dirname },
    outfile: NODE_SCRIPT,
    bundle: true,
    format: "esm",
    target: "es2022",
    platform: "node",
    conditions: ["node"],
    packages: "external",
    logLevel: "error",
  });
}, 120_000);

it(`gives the losses and the file that Node gives, in ${STEPS} steps`, { timeout: 600_000 }, async () => {
  const url = `${site.url}moving-shapes/`;
  // Both at once: for the most part they compile kernels, each on one core.
  const [there, { stdout }] = await Promise.all([
    inPage<Told>(site.page, `return (await import("./page.mjs")).trainInPage(${JSON.stringify(url)}, ${STEPS});`),
    promisify(execFile)(process.execPath, ["dist/launch.js", "--adapter", "swiftshader", "--exec", NODE_SCRIPT, url, String(STEPS)], {
      cwd: ROOT,
      maxBuffer: 1 << 26,
    }),
  ]);
  const here = JSON.parse(stdout) as Told;
  expect(site.wrong).toEqual([]);
  for (const { adapter } of [there, here]) expect(adapter).toMatch(/swiftshader/i);
  expect(new Set(here.losses).size, "losses that are not all the same").toBe(STEPS);
  expect(there.losses).toEqual(here.losses);
  expect(there.file).toBe(here.file);
});
