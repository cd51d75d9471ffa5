/** The child of `npm run bench:isa`: compiles what the engine chooses on this (null) adapter, one pipeline after another. */
import { writeSync } from "node:fs";
import { Gpu } from "../../src/gpu/gpu.ts";
import { compile } from "../../src/graph/compile.ts";
import { isaCases } from "./cases.ts";

await using gpu = await Gpu.open();
writeSync(1, JSON.stringify({ adapter: gpu.name, architecture: gpu.caps.architecture }) + "\n");
for (const { name, graph } of isaCases()) {
  const seen = new Set<string>();
  for (const { dispatch, label } of compile(graph, gpu.caps).steps) {
    if (seen.has(label)) continue;
    seen.add(label);
    // The driver writes to stderr too; what follows this line is about this pipeline.
    writeSync(2, `@@ ${JSON.stringify({ case: name, kernel: dispatch.kernel.name, label })}\n`);
    await gpu.pipelines.get(dispatch.kernel, dispatch);
  }
}
