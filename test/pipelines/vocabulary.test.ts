/** What the embedded model says of prompts that it does not know. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { vocabularyFrom } from "../../src/pipelines/vocabulary.ts";
import { testGpu } from "../support/gpu.ts";

const FOLDER = join(import.meta.dirname, "../../models/moving-shapes");
const json = (name: string): unknown => JSON.parse(readFileSync(join(FOLDER, name), "utf8"));

it("names what it does not know, before anything is loaded; an adapter may have taught it more", async () => {
  await using model = await CogVideoX.open(FOLDER, { gpu: await testGpu() });
  const { warnings } = await model.prepare({ prompt: "A cat, кот and a red circle", seed: 1 });
  expect(warnings).toEqual([
    expect.stringMatching(
      /^\[generate\] this little model knows only one circle, .* does not know “cat” and “кот”, and draws .*CogVideoX-2b/,
    ),
  ]);
  expect((await model.prepare({ prompt: "a red circle MOVING left, on a black background.", seed: 1 })).warnings).toEqual([]);
  expect(model.promptAdvice("one circle in red that is moving to the right, by a cat")).toContain("does not know “cat”,");
  expect(model.promptAdvice("eins two three four five six seven")).toContain("“five” and 2 more");
  expect(model.promptAdvice("")).toBeUndefined();
});

it("knows every word that it was taught", async () => {
  await using model = await CogVideoX.open(FOLDER, { gpu: await testGpu() });
  const { captionForms, colours, backgrounds, shapes, motions } = json("attributes.json") as {
    captionForms: string[];
    shapes: string[];
  } & Record<"colours" | "backgrounds" | "motions", object>;
  const values = [colours, backgrounds, motions].flatMap((one) => Object.keys(one));
  for (const text of [...values, ...shapes, ...captionForms.map((form) => form.replace(/\{\w+\}/g, ""))])
    expect(model.promptAdvice(text), text).toBeUndefined();
  for (const { prompt } of json("evaluation-prompts.json") as { prompt: string }[]) expect(model.promptAdvice(prompt)).toBeUndefined();
});

it("a vocabulary that is none is refused in words; without one nothing is said", () => {
  expect(vocabularyFrom({ height: 64 })).toBeUndefined();
  for (const vocabulary of [null, [], { about: "x" }, { about: 1, words: [] }, { about: "x", words: [1] }])
    expect(() => vocabularyFrom({ vocabulary })).toThrow(/^\[generate\] generation\.json: vocabulary must hold about, a text, and words/);
});
