/**
 * Every reference case on the adapter of the tests; where COGWHEEL_CASES_A_CLASS is set so many of each class, spread over their names;
 * where COGWHEEL_CASES_PART is 1/2 or 2/2 half of these, so that two processes share them.
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { folderSource } from "../../src/sources/folder.ts";
import type { CheckpointSource } from "../../src/sources/source.ts";
import { readCase } from "../../src/check/reference/case.ts";
import { errorsOf } from "../../src/check/reference/gradients.ts";
import type { ReferenceCase } from "../../src/check/reference/reference-case.ts";
import { type CaseResult, complaint, runCase } from "../../src/check/reference/run.ts";
import { testGpu } from "../support/gpu.ts";
import { referenceFiles } from "../support/reference-files.ts";

const folder = join(import.meta.dirname, "cases");
const files = referenceFiles(Number(process.env["COGWHEEL_CASES_A_CLASS"] ?? Infinity), process.env["COGWHEEL_CASES_PART"]);

let source: CheckpointSource;
beforeAll(async () => void (source = await folderSource(folder)));
afterAll(() => source[Symbol.asyncDispose]());

test("there are cases", () => expect(files.length).toBeGreaterThan(20));

/** What no storage type changes is run once. */
const exact = /^(torch\.randn|T5Tokenizer|CogVideoXDDIMScheduler|CogVideoXDPMScheduler)\//;

/**
 * Forty steps, of which float64 is the judge: tensors that are further off than 1e-3 are so in torch's float32 too, and by as much;
 * and over all of them the engine is no further off than torch is.
 */
function expectAsNearAsTorch(c: ReferenceCase, { outputs }: CaseResult): void {
  const torch = errorsOf(c, "torch_f32");
  const errors = outputs
    .filter(({ measure }) => measure === "L2 of change")
    .map(({ output, judged }) => ({ output, own: judged, torch: torch.get(output.replace(/^weight\./, ""))! }));
  expect(errors.length).toBe(253);
  for (const { output, own, torch } of errors) if (own > 1e-3) expect(own / torch, output).toBeLessThan(1.3);
  const size = (of: "own" | "torch"): number => Math.hypot(...errors.map((error) => error[of]));
  expect(size("own") / size("torch")).toBeLessThan(1.2);
}

describe.each(["f32", "f16"] as const)("%s", (dtype) => {
  test.for(dtype === "f32" ? files : files.filter((f) => !exact.test(f)))("%s", async (file, { skip }) => {
    const gpu = await testGpu();
    skip(dtype === "f16" && !gpu.caps.f16, "needs an adapter with shader-f16");
    const c = await readCase({ source, path: file }, file.replace(/\.safetensors$/, ""));
    const result = await runCase(gpu, c, { dtype });
    expect(complaint(result)).toBe("");
    if (dtype === "f32" && file.endsWith("/gan_40.safetensors")) expectAsNearAsTorch(c, result);
  });
});
