/**
 * The child of `npm run bench:isa`: compiles what the engine chooses on this (null) adapter, one pipeline after another; its arguments
 * are sizes of the ops' own cases.
 */
import { writeSync } from "node:fs";
import { Gpu } from "../../src/gpu/gpu.ts";
import { compile, type PlanStep } from "../../src/plan/compile.ts";
import { isaCases, listedSteps } from "./cases.ts";

// By capability alone: a table that was measured on such a GPU would make other rows here.
const gpu = await Gpu.open({ tuning: false });
writeSync(1, JSON.stringify({ adapter: gpu.name, architecture: gpu.caps.architecture }) + "\n");
const seen = new Set<string>();
async function make(of: "case" | "list", name: string, { dispatch, label }: PlanStep): Promise<void> {
  if (seen.has(label)) return;
  seen.add(label);
  // The driver writes to stderr too; what follows this line is about this pipeline.
  writeSync(2, `@@ ${JSON.stringify({ of, case: name, kernel: dispatch.kernel.name, label })}\n`);
  await gpu.pipelines.get(dispatch.kernel, dispatch);
}
for (const { name, graph } of isaCases()) for (const step of compile(graph, gpu.caps).steps) await make("case", name, step);
for (const { name, step } of listedSteps(gpu.caps, process.argv.slice(2))) await make("list", name, step);
// The null device does not outlive an orderly end.
process.exit(0);
