/**
 * Adapters that PEFT and diffusers saved (test/reference/adapters.py, seed 11; `npm run fuzz -- adapters` makes others):
 * their results, or a refusal by the field's name.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { readAdapterCase, runAdapterCase } from "../support/adapter-case.ts";
import { testGpu } from "../support/gpu.ts";

const folder = join(import.meta.dirname, "fixtures/adapters");
const REFUSED: Readonly<Record<string, RegExp>> = {
  "9": /init_lora_weights must leave the model's weights as they are, got "pissa_niter_4"; the first matrices were taken out of them: save the adapter again/,
  "62": /modules_to_save must be off, got \["/,
  "168": /use_dora must be off, got true; DoRA is not supported/,
};

let gpu: Gpu;
beforeAll(async () => void (gpu = await testGpu()));

describe("adapters that PEFT and diffusers saved", async () => {
  const all = await readdir(folder);
  test("each is read or refused as it should be", () => {
    expect(all.length).toBe(14);
    expect(Object.keys(REFUSED).every((name) => all.includes(name))).toBe(true);
  });
  test.each(all)("%s", async (name) => {
    const about = await readAdapterCase(join(folder, name));
    if (REFUSED[name]) await expect(runAdapterCase(gpu, join(folder, name), about)).rejects.toThrow(REFUSED[name]);
    else {
      expect(about.error).toBeUndefined();
      const { merged, live } = await runAdapterCase(gpu, join(folder, name), about);
      expect(merged, "merged").toBeLessThan(1e-5);
      expect(live, "live").toBeLessThan(1e-5);
    }
  });
});
