/**
 * `npm run docs:pictures [-- clips | page]`: the README's pictures, made anew: clips of the embedded model, and the playground in Chromium,
 * light and dark; and what the playground shows before its first video. Nothing is drawn by hand, so they show what a visitor gets.
 */
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodeJpeg } from "#jpeg";
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

/** Clips of one size beside and below each other, each pixel several times as wide and high, with room between them. */
function mosaic(clips: readonly (readonly Frame[])[], { columns, scale, gap }: { columns: number; scale: number; gap: number }): Frame[] {
  const { width: w, height: h } = clips[0]![0]!;
  const [across, down] = [scale * w + gap, scale * h + gap];
  const width = columns * across - gap;
  const height = Math.ceil(clips.length / columns) * down - gap;
  return clips[0]!.map((_, at) => {
    const data = new Uint8ClampedArray(4 * width * height);
    const target = new Uint32Array(data.buffer);
    for (const [i, clip] of clips.entries()) {
      const source = new Uint32Array(Uint8ClampedArray.from(clip[at]!.data).buffer);
      const corner = Math.floor(i / columns) * down * width + (i % columns) * across;
      for (let y = 0; y < scale * h; y++)
        for (let x = 0; x < scale * w; x++) target[corner + y * width + x] = source[Math.floor(y / scale) * w + Math.floor(x / scale)]!;
    }
    return { width, height, data };
  });
}

/** Frames of one size one below the other, as one picture. */
function column(frames: readonly Frame[]): Frame {
  const { width, height } = frames[0]!;
  const data = new Uint8ClampedArray(4 * width * height * frames.length);
  for (const [i, frame] of frames.entries()) data.set(frame.data, 4 * width * height * i);
  return { width, height: height * frames.length, data };
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
  const strip = mosaic(made, { columns: made.length, scale: 2, gap: 8 });
  await writeFile(join(folder, "clips.gif"), await encodeVideo(strip, { format: "gif", fps }));
  await writeFile(join(packageRoot, "web/sample.jpg"), await encodeJpeg(column(mosaic(made, { columns: 3, scale: 1, gap: 4 })), 80));
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
for (const [name, make] of Object.entries({ clips, page })) if (process.argv.slice(2).every((asked) => asked === name)) await make(folder);
process.exit(0);
