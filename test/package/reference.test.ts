/**
 * docs/reference/ is what the declarations of the package's doors for apps and models say, and every export says what it is. After a
 * change of an export: `npm run docs:reference`
 */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { publishedTypes } from "../support/published-types.ts";
import { exportsOf, referencePage } from "../support/reference-page.ts";

const ROOT = join(import.meta.dirname, "../..");
const said = await publishedTypes();
if (said) throw new Error(said); // what follows would be of types that are not whole

describe.each([
  ["index", "cogwheel-webgpu", "For apps, in Node and in browsers; [the API for apps](../api.md) is its guide."],
  [
    "data-node",
    "cogwheel-webgpu/data",
    "For making data sets; [its guide](../data.md#from-an-app). `Curation` and what needs a disk are in Node alone, the rest in pages too.",
  ],
  [
    "worker",
    "cogwheel-webgpu/worker",
    "The same with the model in a thread of its own; [the API for apps](../api.md#in-a-worker) is its guide.",
  ],
  ["engine", "cogwheel-webgpu/graph", "The lower door, for other models, ops and kernels; [the tour](../tour.md) is its guide."],
])("%s", (file, door, about) => {
  const exported = exportsOf(join(ROOT, `dist/types/src/${file}.d.ts`));

  it("says of every export what it is, in a sentence", () => {
    expect(exported.length).toBeGreaterThan(15);
    expect(exported.filter(({ doc }) => !/^[^@]{12,}/.test(doc)).map(({ name }) => name)).toEqual([]);
  });

  it("has a page that is up to date", async () => {
    const words = `${about} Generated from its declarations by \`npm run docs:reference\`; a test checks that it is up to date.`;
    await expect(referencePage(door, words, exported)).toMatchFileSnapshot(`../../docs/reference/${file}.md`);
  });
});
