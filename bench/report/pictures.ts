/**
 * `npm run docs:pictures`: the README's pictures, made anew: clips of the embedded model, and the playground in Chromium, light and dark.
 * Nothing is drawn by hand, so they show what a visitor gets.
 */
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { EMBEDDED_MODEL, packageRoot } from "../../src/cli/package-root.ts";
import { CogVideoX, encodeVideo, type Frame } from "../../src/index.ts";
import { launchChromium } from "../../test/support/chromium.ts";
import { siteHeaders } from "../../web/headers.ts";
import { serveFolder } from "../../web/server.ts";

const PROMPTS = [
  "a red circle moving left on a black background",
  "a yellow square moving down on a gray background",
  "a blue triangle growing on a white background",
  "a green circle moving right on a white background",
  "a magenta square shrinking on a black background",
  "a cyan triangle moving up on a gray background",
];
const SCALE = 2;
const GAP = 8;

/** Clips side by side, each pixel twice as wide and high, with room between them. */
function sideBySide(clips: readonly (readonly Frame[])[]): Frame[] {
  const { width: w, height: h } = clips[0]![0]!;
  const [tile, height] = [SCALE * w, SCALE * h];
  const width = clips.length * (tile + GAP) - GAP;
  return clips[0]!.map((_, at) => {
    const data = new Uint8ClampedArray(4 * width * height);
    clips.forEach((clip, i) => {
      const source = new Uint32Array(Uint8ClampedArray.from(clip[at]!.data).buffer);
      const target = new Uint32Array(data.buffer);
      for (let y = 0; y < height; y++)
        for (let x = 0; x < tile; x++)
          target[y * width + i * (tile + GAP) + x] = source[Math.floor(y / SCALE) * w + Math.floor(x / SCALE)]!;
    });
    return { width, height, data };
  });
}

async function clips(folder: string): Promise<void> {
  await using model = await CogVideoX.open(EMBEDDED_MODEL);
  const made: (readonly Frame[])[] = [];
  let fps = 8;
  for (const [i, prompt] of PROMPTS.entries()) {
    const video = await model.generate({ prompt, seed: i + 1 });
    made.push(video.frames);
    ({ fps } = video.settings);
  }
  await writeFile(join(folder, "clips.gif"), await encodeVideo(sideBySide(made), { format: "gif", fps }));
}

async function page(folder: string): Promise<void> {
  execFileSync(process.execPath, ["build.mjs", "--web", "--if-stale"], { cwd: packageRoot });
  const site = join(packageRoot, "dist/web");
  await using server = await serveFolder(site, {}, { headers: await siteHeaders(site) });
  const browser = await launchChromium();
  try {
    for (const colorScheme of ["light", "dark"] as const) {
      const context = await browser.newContext({ colorScheme, viewport: { width: 1200, height: 760 } });
      const tab = await context.newPage();
      tab.setDefaultTimeout(240_000);
      await tab.goto(`${server.url}index.html`);
      await tab.waitForFunction(() => document.getElementById("plan")!.textContent!.startsWith("Takes"));
      await tab.click("#start");
      await tab.waitForSelector("#result:not([hidden])");
      await tab.evaluate(() => scrollTo(0, 0));
      await tab.screenshot({ path: join(folder, `playground-${colorScheme}.png`) });
      await context.close();
    }
  } finally {
    await browser.close();
  }
}

const folder = join(packageRoot, "docs/pictures");
await mkdir(folder, { recursive: true });
await clips(folder);
await page(folder);
process.exit(0);
