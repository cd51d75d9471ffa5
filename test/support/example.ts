/** The lines that the README shows, and running them as they are in Node and in a page. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Page } from "playwright-core";

const ROOT = join(import.meta.dirname, "../..");

/** What the example generated: the latents that were decoded and the frames, RGBA. */
export interface ExampleResult {
  adapter: string;
  videos: { seed: number; latents: Float32Array; frames: { width: number; height: number; data: Uint8Array }[] }[];
}

/** The code between the README's markers. */
export async function readmeExample(): Promise<string> {
  const readme = await readFile(join(ROOT, "README.md"), "utf8");
  const code = /<!-- example:begin -->\s*```\w*\n([\s\S]*?)```\s*<!-- example:end -->/.exec(readme)?.[1];
  if (code === undefined)
    throw new Error(
      "[readme] README.md must show its example as one block of code between <!-- example:begin --> and <!-- example:end -->, " +
        "got none; put the markers around it",
    );
  return code;
}

/**
 * A module for both sides that lets an example run as it is, only cheaper: each `generate` is given the settings on top of
 * its own, and what it returns is kept for `results`.
 */
export const observer = (settings: object): string => `
import { CogVideoX } from "cogwheel-webgpu";
const { generate } = CogVideoX.prototype;
const kept = [];
export let adapter = "";
CogVideoX.prototype.generate = async function (options) {
  const video = await generate.call(this, { ...options, ...${JSON.stringify(settings)} });
  adapter = this.gpu.name;
  kept.push(video);
  return video;
};
export const videos = kept;
const base64 = (array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return btoa(text);
};
export const results = () => JSON.stringify({
  adapter,
  videos: kept.map(({ settings, state, frames }) => ({
    seed: settings.seed,
    latents: base64(state.latents),
    frames: frames.map(({ width, height, data }) => ({ width, height, data: base64(data) })),
  })),
});
`;

export function parseResults(text: string): ExampleResult {
  const bytes = (base64: string) => Uint8Array.from(Buffer.from(base64, "base64"));
  return JSON.parse(text, (key, value: unknown) =>
    key === "latents" ? new Float32Array(bytes(value as string).buffer) : key === "data" ? bytes(value as string) : value,
  ) as ExampleResult;
}

/** Runs the example in a Node of its own, in the checkout, where `cogwheel-webgpu` is the package itself. */
export async function runInNode(example: string, settings: object): Promise<ExampleResult> {
  // Below the checkout, and not below node_modules, a package may import itself by its name.
  await mkdir(join(ROOT, "dist"), { recursive: true });
  const folder = await mkdtemp(join(ROOT, "dist/example-"));
  const outside = await mkdtemp(join(tmpdir(), "cogwheel-example-"));
  try {
    await writeFile(join(folder, "observer.mjs"), observer(settings));
    await writeFile(join(folder, "example.mjs"), example);
    await writeFile(
      join(folder, "run.mjs"),
      `
      import { writeFileSync } from "node:fs";
      import { results } from "./observer.mjs";
      await import("./example.mjs");
      writeFileSync(process.argv[2], results());
    `,
    );
    const out = join(outside, "results.json");
    await promisify(execFile)(process.execPath, ["dist/launch.js", "--adapter", "swiftshader", "--exec", join(folder, "run.mjs"), out], {
      cwd: ROOT,
    });
    return parseResults(await readFile(out, "utf8"));
  } finally {
    await rm(folder, { recursive: true, force: true });
    await rm(outside, { recursive: true, force: true });
  }
}

/** The files of a site that shows the example, to be served over the checkout. */
export const exampleSite = (example: string, settings: object): Record<string, string> => ({
  "index.html": `<!doctype html><html lang="en"><title>Cogwheel</title><link rel="icon" href="data:,">
<script type="importmap">{ "imports": { "cogwheel-webgpu": "./dist/browser.js" } }</script></html>`,
  "observer.mjs": observer(settings),
  "example.mjs": example,
});

/** Evaluates the body of an async function in the page. A text, because vitest rewrites `import()` in what it loads itself. */
export const inPage = <T>(page: Page, body: string): Promise<T> => page.evaluate<T>(`(async () => { ${body} })()`);

/** Runs the example as a module of the page; its video then stands in `videos` of the page's `./observer.mjs`. */
export async function runInPage(page: Page): Promise<ExampleResult> {
  return parseResults(
    await inPage(page, `const { results } = await import("./observer.mjs"); await import("./example.mjs"); return results();`),
  );
}
