/** What files say of how they were made: written by every format that can, found again in any file, and believed only where it can be. */
import { expect, test } from "vitest";
import { madeWith } from "../../src/pipelines/made-with-file.ts";
import { commentIn, commentOf } from "../../src/video/comment.ts";
import { decodeVideo } from "../../src/video/decode.ts";
import { encodeVideo } from "../../src/video/encode.ts";

const made = { model: "name", prompt: 'a "cat" é 猫 🐈\n\u0000', seed: 7, steps: 4, timesteps: [9, 5, 2, 0], task: "text" };
const frame = { width: 16, height: 16, data: new Uint8Array(16 * 16 * 4).fill(99) };

test.each(["mp4", "webm", "png"] as const)("%s", async (format) => {
  const [told, silent] = [await encodeVideo([frame], { format, fps: 8, made }), await encodeVideo([frame], { format, fps: 8 })];
  expect(commentIn(told)).toEqual(made);
  expect(madeWith(told, "file")).toEqual(made);
  expect(commentIn(silent)).toBeUndefined();
  expect((await decodeVideo(told)).frames[0]).toEqual((await decodeVideo(silent)).frames[0]);
});

test("a GIF has no comment", async () => {
  expect(commentIn(await encodeVideo([frame], { format: "gif", fps: 8, made }))).toBeUndefined();
});

test("settings of any length are kept or left out, never cut", () => {
  expect(commentOf({ prompt: "a".repeat(65_000) })).toMatch(/^Made with Cogwheel\. Settings: 65013 \{"prompt":"a+"\}$/);
  expect(commentOf({ prompt: "a".repeat(65_536) })).toBeUndefined();
  expect(commentOf({ prompt: "é".repeat(11_000) })).toBeUndefined();
});

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("the last that is whole counts, and none other is taken for one", () => {
  const mark = "Made with Cogwheel. Settings: ";
  expect(commentIn(bytes(`xx${commentOf({ seed: 1 })}yy${commentOf({ seed: 2 })}MMMade ${mark}9 {"seed`))).toEqual({ seed: 2 });
  for (const text of ["", "M", mark, `${mark}12`, `${mark}2 []`, `${mark}4 null`, `${mark}99999 {}`, `${mark}-2 {}`, `${mark}2 {]`])
    expect(commentIn(bytes(text)), text).toBeUndefined();
});

test.each([
  [{ seed: "one" }, /file says that it was made with seed "one", which must be a number/],
  [{ task: "dance" }, /made with task "dance"/],
  [{ timesteps: ["a"] }, /made with timesteps \["a"\], which must be a list of numbers/],
])("%j is refused", (said, rule) => {
  expect(() => madeWith(bytes(commentOf(said)!), "file")).toThrow(rule);
});

test("names that no option has are left out", () => {
  expect(madeWith(bytes(commentOf({ seed: 1, loras: "a:1", start: "x", gpu: 3, model: 4 })!), "file")).toEqual({ seed: 1, loras: "a:1" });
});
