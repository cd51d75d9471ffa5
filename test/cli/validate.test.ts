import { mkdtemp, readFile, rm, writeFile, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { validateCases, type ValidateOptions } from "../../src/cli/validate.ts";

let folder: string;
const metadata = (module: string) => ({
  format: "reference-case/1",
  module,
  config: "{}",
  options: '{"seed": 0, "shape": [1]}',
  source: "here",
});
const sample = (value: number) => ({ "output.sample": { dtype: "F32" as const, shape: [1], data: Float32Array.of(value) } });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cogwheel-validate-"));
  await mkdir(join(folder, "deep"));
  await writeFile(join(folder, "deep/good.safetensors"), writeSafetensors(sample(1.5409960746765137), metadata("torch.randn")));
  await writeFile(join(folder, "bad.safetensors"), writeSafetensors(sample(1.5), metadata("torch.randn")));
  await writeFile(join(folder, "other.safetensors"), writeSafetensors(sample(1), metadata("Other")));
  await writeFile(join(folder, "torn.safetensors"), Uint8Array.of(1, 2, 3));
  await writeFile(join(folder, "notes.txt"), "not a case");
});
afterAll(() => rm(folder, { recursive: true }));

async function run(paths: string[], options: ValidateOptions = {}): Promise<{ code: number; text: string }> {
  let text = "";
  const adapter = process.env["COGWHEEL_ADAPTER"];
  const code = await validateCases(paths, { ...(adapter ? { adapter } : {}), ...options, write: (t) => void (text += t) });
  return { code, text };
}

test("a good case passes with exit code 0", async () => {
  const { code, text } = await run([join(folder, "deep")]);
  expect(code).toBe(0);
  expect(text).toMatch(/^case +module +output +max abs +relative L2 +cosine +verdict$/m);
  expect(text).toMatch(/^good +torch\.randn +sample +\S+ +\S+ +1\.000000000 +pass$/m);
});

test("a broken file stops nothing; it, a failure and an unknown module each make the exit code 1", async () => {
  const { code, text } = await run([folder, join(folder, "gone")]);
  expect(code).toBe(1);
  expect(text).toMatch(/^bad +torch\.randn +sample +4\.10e-2 .*FAIL \(max abs ≤ 0\.000001\)$/m);
  expect(text).toMatch(/^deep\/good .*pass$/m);
  expect(text).toMatch(/^other +Other .*unsupported$/m);
  expect(text).toMatch(/^other: unsupported: module Other is not supported; supported are /m);
  expect(text).toMatch(/^torn: cannot be run: \[checkpoint\] torn\.safetensors: a safetensors file starts with/m);
  expect(text).toMatch(/gone: cannot be run: \[validate\] a path must be readable, got ENOENT/m);
  expect(text).toMatch(/\n5 cases: 1 pass, 1 fail, 1 unsupported, 2 cannot be run\n$/);
  for (const file of ["bad", "other", "torn"]) expect((await run([join(folder, `${file}.safetensors`)])).code).toBe(1);
});

test("--json holds the same", async () => {
  const { code, text } = await run([folder], { json: true });
  const report = JSON.parse(text) as { summary: unknown; dtype: string; cases: { name: string; verdict: string }[] };
  expect(code).toBe(1);
  expect(report.summary).toEqual({ pass: 1, fail: 1, unsupported: 1, cannotBeRun: 1 });
  expect(report.cases.map((c) => [c.name, c.verdict])).toEqual([
    ["bad", "fail"],
    ["deep/good", "pass"],
    ["other", "unsupported"],
    ["torn", "cannot be run"],
  ]);
});

test("--only picks by module or name, and must pick something", async () => {
  expect((await run([folder], { only: "good" })).text).toMatch(/2 cases: 1 pass, 0 fail, 0 unsupported, 1 cannot be run/);
  await expect(run([join(folder, "deep")], { only: "T5" })).rejects.toThrow(
    /\[validate\] there must be a case to run, got none whose module or name contains "T5"/,
  );
});

test("without a path the cases that come with the package are run", async () => {
  const { text, code } = await run([], { only: "T5Tokenizer" });
  expect([code, text]).toEqual([0, expect.stringMatching(/^T5Tokenizer\/\w+ .*pass[^]*\n1 case: 1 pass, /m)]);
});

describe("--trace", () => {
  const cases = join(import.meta.dirname, "../reference/cases");
  const good = join(cases, "T5EncoderModel/traced.safetensors");
  const module = "encoder.block.1.layer.0.SelfAttention.o";
  let faulty: string;
  beforeAll(async () => {
    // One value of one weight is another.
    const bytes = await readFile(good);
    const header = Number(bytes.readBigUInt64LE(0));
    const weights = JSON.parse(bytes.toString("utf8", 8, 8 + header)) as Record<string, { data_offsets: [number, number] }>;
    const at = 8 + header + weights[`weight.${module}.weight`]!.data_offsets[0];
    bytes.writeFloatLE(bytes.readFloatLE(at) + 1, at);
    faulty = join(folder, "deep", "faulty.safetensors");
    await writeFile(faulty, bytes);
  });
  afterAll(() => rm(faulty));

  test("lists every intermediate and says that none departs", async () => {
    const { code, text } = await run([good], { trace: true });
    expect(code).toBe(0);
    expect(text).toMatch(/^reference's module +of it +node +max abs +relative L2 +verdict$/m);
    expect(text).toMatch(/^encoder\.block\.0\.layer\.0\.SelfAttention\.q +by head +encoder\.block\.0\.matmul +\S+ +\S+ +pass$/m);
    expect(text).toMatch(/^traced: no intermediate departs$/m);
    expect(text).not.toContain("FAIL");
  });
  test("names the first that departs, with figures, and the exit code is 1", async () => {
    const { code, text } = await run([faulty], { trace: true });
    expect(code).toBe(1);
    expect(text).toMatch(
      /^faulty: first departs at encoder\.block\.1\.layer\.0\.SelfAttention\.o \(plus the residual\), node encoder\.block\.1\.matmul#4, relative L2 \S+ where 0\.00001 is allowed; largest difference at \[\d, \d, \d+\]: got \S+, expected \S+$/m,
    );
  });
  test("--json holds the rows, the first and what has no counterpart", async () => {
    const { text } = await run([faulty], { trace: true, json: true });
    const { trace } = (
      JSON.parse(text) as {
        cases: {
          trace: {
            rows: { module: string; verdict: string }[];
            first: { module: string; relativeL2: number };
            unmatchedNodes: string[];
            unmatchedModules: string[];
          };
        }[];
      }
    ).cases[0]!;
    expect(trace.first).toMatchObject({ module, verdict: "fail" });
    expect(trace.rows.findIndex((row) => row.verdict === "fail")).toBe(trace.rows.findIndex((row) => row.module === module));
    expect(trace.unmatchedModules).toContain("encoder.block.0.layer.1.DenseReluDense.act");
  });
  test("of a pipeline, every step; of a case without a trace, that there is none", async () => {
    const { code, text } = await run(
      [join(cases, "CogVideoXPipeline/5b_dpm_dynamic.safetensors"), join(cases, "T5EncoderModel/s150.safetensors")],
      { trace: true },
    );
    expect(code).toBe(0);
    expect(text).toMatch(/^5b_dpm_dynamic: no step departs$/m);
    expect(text).toMatch(/^ +6 +original +\S+ +\S+ +pass$/m);
    expect(text).toMatch(/^s150: nothing to trace: the case records no intermediates/m);
  });
});
