/** What is opened without a name. That installed and bundled apps find it is in test/package/install.test.ts. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSource as openInPage } from "../../src/hub/open-browser.ts";
import { openSource } from "../../src/hub/open-node.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";

const ROOT = join(import.meta.dirname, "../..");
const MODEL = join(ROOT, "models/moving-shapes");

test("in Node it is the package's folder", async () => {
  await using source = await openSource(undefined);
  expect(source.label).toBe(MODEL);
  expect(await source.exists("vae/diffusion_pytorch_model.safetensors")).toBe(true);
});

test("a page names every file of the model where a bundler sees it", () => {
  const named = [
    ...readFileSync(join(ROOT, "src/hub/embedded-browser.ts"), "utf8").matchAll(/"([^"]+)": new URL\(\s*"([^"]+)",\s*import/g),
  ];
  for (const [, path, url] of named) expect(url).toBe(`../../models/moving-shapes/${path}`);
  const ofTheModel = readdirSync(MODEL, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(MODEL.length + 1)
        .replaceAll("\\", "/"),
    )
    .filter((path) => !/^train\/|^README|^attributes|^evaluation-prompts|^\./.test(path));
  expect(named.map(([, path]) => path).sort()).toEqual(ofTheModel.sort());
});

test("a page whose code came from no server says what to pass", async () => {
  await expect(openInPage(undefined)).rejects.toThrow(
    "[checkpoint] without a name the embedded model is opened, which must be served where the package or its bundler puts it, " +
      "got an address of file:; copy the package's models/moving-shapes to the site and pass its URL",
  );
});

test.each([null, 5, {}, []])("%j is neither a name nor a source", async (given) => {
  for (const open of [openSource, openInPage])
    await expect(open(given as unknown as CheckpointSource)).rejects.toThrow(
      `[checkpoint] must be named by text, a URL or a source, got ${String(given)}; leave it out for the embedded model`,
    );
});
