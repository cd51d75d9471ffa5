/** Loading in a headless Chromium, on SwiftShader: the worker of a page does the same as Node does. */
import { join } from "node:path";
import { build } from "esbuild";
import { packageRoot } from "../../src/cli/package-root.ts";
import { launchChromium } from "../../test/support/chromium.ts";
import type { LoadFigures } from "./measure.ts";
import { FILE, serveApart, writePattern } from "./node.ts";
import type { LoadRequest } from "./worker.ts";

export interface ChromiumLoad extends LoadFigures {
  readonly browser: string;
}

export async function measureChromiumLoad(folder: string, bytes: number, runs: number): Promise<ChromiumLoad> {
  await writePattern(folder, bytes);
  await build({
    absWorkingDir: packageRoot,
    entryPoints: ["bench/load/worker.ts"],
    outfile: join(folder, "worker.mjs"),
    bundle: true,
    format: "esm",
    target: "es2022",
    platform: "browser",
    conditions: ["browser"],
    alias: { "@huggingface/hub": "./node_modules/@huggingface/hub/dist/browser/index.mjs" },
    logLevel: "error",
  });
  await using server = await serveApart(folder);
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    await page.goto(`${server.url}index.html`);
    const request: LoadRequest = { url: server.url, file: FILE, bytes, runs };
    const answer = await page.evaluate<{ figures?: LoadFigures; error?: string }>(
      `new Promise((resolve) => {
        const worker = new Worker("./worker.mjs", { type: "module" });
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => resolve({ error: message || "the worker did not start" });
        worker.postMessage(${JSON.stringify(request)});
      })`,
    );
    if (!answer.figures) throw new Error(`in Chromium: ${answer.error}`);
    return { ...answer.figures, browser: `Chromium ${browser.version()}` };
  } finally {
    await browser.close();
  }
}
