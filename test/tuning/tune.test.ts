/** Tuning: the node alone is the node in its model, wrong and slow kernels are told, and the command from end to end. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Gpu } from "../../src/gpu/gpu.ts";
import { parseTuning, type TuningTable } from "../../src/gpu/tuning-table.ts";
import { compile } from "../../src/plan/compile.ts";
import { Graph } from "../../src/graph/graph.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { CogVideoX } from "../../src/pipelines/cogvideox/pipeline.ts";
import { isolate } from "../../src/tuning/isolate.ts";
import { fastest, measureWork, worksOf } from "../../src/tuning/measure.ts";
import type { TuningReport } from "../../src/tuning/tune.ts";
import { relativeL2 } from "../support/compare.ts";
import { testGpu } from "../support/gpu.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const launcher = resolve(import.meta.dirname, "../../dist/launch.js");
let model: string;
let whole: string;
let folder: string;
beforeAll(async () => {
  [model, whole] = [await tinyCheckpoint(), await tinyCheckpoint()];
  // What is measured needs configs alone.
  for (const name of ["text_encoder", "transformer", "vae"])
    for (const file of await readdir(join(model, name))) if (file.endsWith(".safetensors")) await unlink(join(model, name, file));
  folder = await mkdtemp(join(tmpdir(), "cogwheel-tune-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

const linear = (rows: number) => {
  const graph = new Graph("linear");
  const w = graph.weight(["a.weight", "b.weight"], [48, 32]);
  const table = graph.input("table", [2, 48]);
  const gated = matmul(graph.input("x", [rows, 32]), w, {
    bias: graph.weight("bias", [48]),
    residual: graph.input("r", [rows, 48]),
    gate: {
      table,
      rows: graph.constant(
        "rows",
        Uint32Array.from({ length: rows }, (_, i) => i % 2),
      ),
    },
  });
  graph.output("y", gated);
  return graph;
};

describe("measuring", () => {
  it("takes the smallest node of each kind of work, small work first", async () => {
    const { caps } = await testGpu();
    const works = worksOf([
      { stage: "one", plan: compile(linear(100), caps) },
      { stage: "two", plan: compile(linear(70), caps) },
      { stage: "two", plan: compile(linear(9), caps) },
    ]);
    expect(works.map((w) => [w.key, w.nodes, w.stages, w.node.inputs["x"]!.dim(0)])).toEqual([
      ["matmul m≤16 n=48 k=32 f32 f32 f32", 1, ["two"], 9],
      ["matmul m≤128 n=48 k=32 f32 f32 f32", 2, ["one", "two"], 70],
    ]);
  });

  it("records a node alone as it stands in its model: the same dispatches", async () => {
    const { caps } = await testGpu();
    const plan = compile(linear(70), caps);
    const { record } = isolate(plan.graph.nodes[0]!);
    const alone = compile(record(), caps);
    expect(alone.steps.map((s) => [s.label, s.dispatch.grid, s.dispatch.params])).toEqual(
      plan.steps.map((s) => [s.label, s.dispatch.grid, s.dispatch.params]),
    );
    expect([...alone.weights.keys()]).toEqual([...plan.weights.keys()]);
  });

  it("times every candidate that is right, and tells which is wrong or cannot run", { timeout: 240_000 }, async () => {
    const gpu = await testGpu();
    const [work] = worksOf([{ stage: "one", plan: compile(linear(9), gpu.caps) }]);
    const right = work!.candidates[0]!;
    // A node whose result depends on the kernel: one candidate computes something else.
    const liar = { ...work!.node.op, lower: (node: never, target: never) => work!.node.op.lower(node, target) };
    let recorded = 0;
    liar.lower = (node, target) => {
      const made = work!.node.op.lower(node, target);
      return ++recorded === 2 ? made.map((d) => ({ ...d, consts: { ...d.consts, GATE: 0 } })) : made;
    };
    const measured = await measureWork(
      gpu,
      { ...work!, candidates: [right, right + " ", ...work!.candidates.slice(1, 2)], node: { ...work!.node, op: liar } },
      { rounds: 2, batchMs: 1, seconds: 30 },
    );
    expect(measured.candidates[0]).toMatchObject({ variant: right });
    expect(measured.candidates[0]!.runs).toHaveLength(2);
    expect(measured.candidates[1]!.why).toMatch(/^refused: \[tuning\] a tuned variant must be one that this adapter can run/);
    expect(measured.candidates[2]).toMatchObject({ variant: work!.candidates[1], runs: [] });
    expect(measured.candidates[2]!.why).toMatch(/^discarded: its result is \d\.\de[+-]\d+ from the untuned choice's, more than 0.00001$/);
    expect(measured.chosen).toBe(right);
  });

  it("keeps the untuned choice unless another is faster by more than times vary", () => {
    expect(
      fastest([
        { variant: "a", ms: 10, runs: [10] },
        { variant: "b", ms: 9.8, runs: [9.8] },
      ]),
    ).toBe("a");
    expect(
      fastest([
        { variant: "a", ms: 10, runs: [10] },
        { variant: "b", ms: 9, runs: [9] },
        { variant: "c", ms: 8, runs: [8] },
      ]),
    ).toBe("c");
    expect(
      fastest([
        { variant: "a", runs: [], why: "refused" },
        { variant: "b", ms: 9, runs: [9] },
      ]),
    ).toBe("b");
    expect(fastest([{ variant: "a", runs: [] }])).toBe(null);
  });
});

describe("cogwheel tune", () => {
  interface Ended {
    code: number | null;
    out: string;
    err: string;
  }
  const cogwheel = (args: readonly string[]): Promise<Ended> => {
    const child = spawn(process.execPath, [launcher, ...args], {
      cwd: folder,
      env: { ...process.env, XDG_CACHE_HOME: join(folder, "cache"), COGWHEEL_TUNING: undefined },
    });
    let [out, err] = ["", ""];
    child.stdout.on("data", (text: Buffer) => void (out += text));
    child.stderr.on("data", (text: Buffer) => void (err += text));
    return new Promise((done) => child.on("close", (code) => done({ code, out, err })));
  };

  it("measures a checkpoint that has no weights yet, keeps the choice, writes one report; inspect and an app find it", {
    timeout: 300_000,
  }, async () => {
    const { code, out, err } = await cogwheel(["tune", model, "--quick", "--frames", "1", "--dtype", "f32", "--out", "report.json"]);
    expect(code, err).toBe(0);
    const report = JSON.parse(await readFile(join(folder, "report.json"), "utf8")) as TuningReport & {
      versions: Record<string, string>;
      system: object;
    };
    const table = parseTuning(report);
    const [file] = await readdir(join(folder, "cache/cogwheel/tuning"));
    const path = join(folder, "cache/cogwheel/tuning", file!);
    expect(out).toContain(`Kept for this adapter: ${path}\nReport: report.json\n`);
    expect(parseTuning(await readFile(path, "utf8")).choices).toEqual(
      Object.fromEntries(Object.entries(table.choices).sort(([a], [b]) => (a < b ? -1 : 1))),
    );
    expect(report.works.length).toBeGreaterThan(8);
    expect(new Set(report.works.map((w) => w.op))).toEqual(
      new Set(["matmul", "conv3d", "attention", "layer_norm", "rms_norm", "group_norm_apply", "qk_norm_rope"]),
    );
    expect(new Set(report.works.flatMap((w) => w.stages))).toEqual(new Set(["text encoder", "transformer", "decoder"]));
    const software = report.capabilities.kind === "software";
    for (const work of report.works) {
      if (software && !/^(tiled|flash|row)/.test(work.candidates[0]!.variant))
        expect(
          work.candidates
            .filter((c) => /^(tiled|flash|row)/.test(c.variant))
            .every((c) => c.why?.startsWith("not measured: a kernel for GPUs")),
          work.key,
        ).toBe(true);
      expect(work.chosen, work.key).toBe(table.choices[work.key]);
      expect(work.candidates.find((c) => c.variant === work.chosen)!.ms).toBeGreaterThan(0);
      for (const c of work.candidates)
        expect(c.ms === undefined ? typeof c.why : "number", `${work.key}: ${c.variant}`).toBe(c.ms === undefined ? "string" : "number");
    }
    expect(report).toMatchObject({
      quick: true,
      model: { class: "CogVideoXPipeline", dtype: "f32" },
      versions: { cogwheel: expect.any(String), webgpu: expect.any(String) },
    });
    expect(report.adapter.limits["maxBufferSize"]).toBeGreaterThan(0);
    expect(JSON.stringify(report)).not.toContain(folder);

    const inspected = await cogwheel(["inspect", whole, "--frames", "1", "--dtype", "f32", "--kernels"]);
    expect(inspected.code, inspected.err).toBe(0);
    expect(inspected.out).toContain(
      "Kernels are chosen by measurements on this adapter: " +
        `${path} ${report.works.length} of ${report.works.length} kinds of work were measured.`,
    );
    expect(inspected.out).toMatch(/^matmul m≤\S+ n=\d+ k=\d+ f32 f32 f32 +\w+ .*tuned$/m);

    await writeFile(path, JSON.stringify({ ...table, kernels: "old" }));
    const stale = await cogwheel(["inspect", whole, "--dtype", "f32"]);
    expect(stale.code).toBe(0);
    expect(stale.err.split("\n").filter((line) => line.includes("[tuning]"))).toEqual([
      expect.stringMatching(
        /^\[tuning\] \S+ is not used: it was measured with other kernels \(old, here \w+\); run `node \S+ tune` again$/,
      ),
    ]);
    expect(stale.out).toContain("Kernels are chosen by what the adapter can do");
  });
});

describe("a tuned model", () => {
  it("runs the kernels that the table names, with the same video within the tolerance", { timeout: 240_000 }, async () => {
    const base = await testGpu();
    const run = async (gpu: Gpu) => {
      await using opened = await CogVideoX.open(whole, { gpu, dtype: "f32" });
      const labels = opened.requirements({ frames: 1, guidance: 1 }).flatMap((s) => s.choices);
      const { state } = await opened.generate({ prompt: "a red circle", seed: 7, steps: 1, frames: 1, guidance: 1 });
      return { labels, latents: state.latents };
    };
    const untuned = await run(base);
    await using opened = await CogVideoX.open(whole, { gpu: base, dtype: "f32" });
    const matmuls = opened
      .plans({ frames: 1, guidance: 1 })
      .flatMap(({ plans }) => plans)
      .flatMap((p) => p.choices)
      .filter((c) => c.key.startsWith("matmul"));
    const choices = Object.fromEntries(matmuls.map((c) => [c.key, c.candidates[1]!]));
    const { tuning: _, ...same } = base.caps;
    await using gpu = await Gpu.open({
      device: base.device,
      capabilities: same,
      tuning: { ...base.tuningHeader, choices } satisfies TuningTable,
    });
    const tuned = await run(gpu);
    for (const { work, variant, tuned: by } of tuned.labels)
      expect([by, variant], work).toEqual(
        choices[work] ? [true, choices[work]] : [false, untuned.labels.find((c) => c.work === work)!.variant],
      );
    expect(Object.keys(choices).length).toBeGreaterThan(3);
    expect(relativeL2(tuned.latents, untuned.latents)).toBeLessThan(1e-5);
  });
});
