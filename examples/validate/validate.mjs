// Reference cases on this machine's adapter, from code: node validate.mjs CASE…   (`npx cogwheel-webgpu validate` is the command for it)
import { readFile } from "node:fs/promises";
import { Gpu, readCase, runCase } from "cogwheel-webgpu";

const gpu = await Gpu.open();
console.log(gpu.name);
for (const path of process.argv.slice(2)) {
  const { name, module, verdict, outputs, error } = await runCase(gpu, await readCase(new Uint8Array(await readFile(path)), path));
  console.log(`${name} (${module}): ${verdict}${error ? `, ${error}` : ""}`);
  for (const o of outputs)
    console.log(
      `  ${o.output}: relative L2 ${o.relativeL2.toExponential(2)}, largest error ${o.maxAbs.toExponential(2)}, limit ${o.threshold}`,
    );
  if (verdict !== "pass") process.exitCode = 1;
}
await gpu[Symbol.asyncDispose](); // frees the GPU's memory, and lets the process end
