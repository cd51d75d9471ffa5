/** Files that are dropped or pasted anywhere on the playground. Screenshots are kept in dist/screenshots. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect, it } from "vitest";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { encodeVideo } from "../../src/video/encode.ts";
import { open, ready, SHOTS, text, told, usePlayground } from "../support/playground.ts";
import { tinyCheckpoint } from "../support/tiny-checkpoint.ts";

usePlayground();

/** As a person drops or pastes a file on `at`. */
async function give(page: Page, event: "drop" | "paste", at: string, name: string, bytes: Uint8Array, type = ""): Promise<void> {
  await page.locator(at).evaluate(
    (target, { event, name, bytes, type }) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], name, { type }));
      const init = { bubbles: true, cancelable: true };
      if (event === "paste") target.dispatchEvent(new ClipboardEvent("paste", { ...init, clipboardData: data }));
      else {
        target.dispatchEvent(new DragEvent("dragover", { ...init, dataTransfer: data }));
        target.dispatchEvent(new DragEvent("drop", { ...init, dataTransfer: data }));
      }
    },
    { event, name, bytes: [...bytes], type },
  );
}
const says = (page: Page, words: string): Promise<unknown> =>
  page.waitForFunction((words) => document.getElementById("log")!.textContent!.includes(words), words);

it("tells pictures, films, weights and results apart, and says what of it is of no use", { timeout: 240_000 }, async () => {
  const { page, wrong } = await open();
  await ready(page);
  expect(await page.locator("#role option:not([hidden])").evaluateAll((all) => all.map((one) => (one as HTMLOptionElement).value))).toEqual(
    ["video"],
  );
  const frames = [{ width: 8, height: 8, data: new Uint8Array(256).fill(200) }];
  const png = await encodeVideo(frames, { format: "png", fps: 8 });
  const film = await encodeVideo([...frames, ...frames], { format: "gif", fps: 8 });

  // What a browser says when a file is over the page, and when it has gone again.
  await page.evaluate(() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(["x"], "x.png"));
    document.body.dispatchEvent(new DragEvent("dragover", { dataTransfer, bubbles: true, cancelable: true }));
  });
  expect(await text(page, "veil")).toMatch(/^Drop it anywhere\s+A picture or a film to begin from, a model’s folder/);
  await page.screenshot({ path: join(SHOTS, "playground-drop.png") });
  await page.evaluate(() => document.documentElement.dispatchEvent(new DragEvent("dragleave", { bubbles: true })));
  expect(await page.isHidden("#veil")).toBe(true);

  expect(await page.locator('label[for="strength"]').getAttribute("hidden"), "goes with a file").toBe("");
  await give(page, "drop", "footer", "from.png", png, "image/png");
  await says(page, "The video begins from from.png.");
  expect(await page.inputValue("#role"), "all that this model can do with it").toBe("video");
  expect(await page.locator("#input-look img").isVisible()).toBe(true);
  expect(await page.locator('label[for="strength"]').isVisible()).toBe(true);
  await page.screenshot({ path: join(SHOTS, "playground-dropped.png"), fullPage: true });
  await page.click("#input-clear");
  expect(await page.locator("#input-look > *").count()).toBe(0);
  await give(page, "paste", "#prompt", "pasted.gif", film, "image/gif");
  await says(page, "The video begins from pasted.gif.");

  const tiny = await tinyCheckpoint();
  await give(page, "drop", "header", "t.safetensors", await readFile(join(tiny, "transformer/diffusion_pytorch_model.safetensors")));
  await says(page, "t.safetensors stands in place of the model’s own transformer.");
  expect(await page.locator("#part-transformer").evaluate((input) => (input as HTMLInputElement).files![0]!.name)).toBe("t.safetensors");
  await page.click("#parts-clear");
  const weights = (name: string): Uint8Array => writeSafetensors(new Map([[name, { dtype: "F32", shape: [1], data: new Uint8Array(4) }]]));
  for (const [file, name, words] of [
    ["e.safetensors", "encoder.block.0.layer.0.SelfAttention.q.weight", "own text encoder"],
    ["v.safetensors", "decoder.conv_in.conv.weight", "own VAE"],
    ["l.safetensors", "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight", "l.safetensors is used as the adapter"],
  ] as const) {
    await give(page, "drop", "main", file, weights(name));
    await says(page, words);
  }
  await give(page, "drop", "main", "other.safetensors", weights("bert.pooler.weight"));
  await page.waitForSelector("#notice:not([hidden])");
  expect(await told(page)).toMatch(/other\.safetensors with 1 tensors such as bert\.pooler\.weight; check which file it is/);

  // What cannot be read as an adapter is told at the adapter’s field, and at no other that a word of it names.
  await page.click("#parts-clear");
  await page.click("#start");
  await page.waitForSelector('[aria-invalid="true"]');
  expect(await page.locator('[aria-invalid="true"]').evaluateAll((all) => all.map(({ id }) => id))).toEqual(["adapter-file"]);
  await page.click("#adapter-clear");

  const made = { prompt: "a green square", seed: 77, steps: 3 };
  await give(page, "drop", "#stage", "made.png", await encodeVideo(frames, { format: "png", fps: 8, made }), "image/png");
  await says(page, "settings of made.png");
  expect([await page.inputValue("#prompt"), await page.inputValue("#seed"), await page.inputValue("#steps")]).toEqual([
    "a green square",
    "77",
    "3",
  ]);
  await give(page, "drop", "body", "notes.txt", Buffer.from("what to buy"), "text/plain");
  await page.waitForFunction(() => document.getElementById("notice")!.textContent!.includes("notes.txt"));
  expect(await text(page, "notice")).toMatch(/notes\.txt must be a picture, a film, or a model’s weights \(got text/);
  // A tab takes what is of use there.
  await page.click("#tab-train");
  await give(page, "drop", "footer", "red_star.png", png, "image/png");
  expect(await page.locator("#train-clips input").inputValue()).toBe("red star");
  expect(wrong).toEqual([]);
  await page.context().close();
});
