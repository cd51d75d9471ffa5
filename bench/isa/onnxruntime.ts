/** The peer's child of `npm run bench:isa`: ONNX Runtime's WebGPU provider compiles its own kernels on the null device. */
import { mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attentionCase, convCase, matmulCase } from "../cases/figures.ts";
import { peerRequire } from "../contenders/installed.ts";
import { onnxVariants } from "../contenders/onnx/variants.ts";

interface Ort {
  readonly Tensor: new (type: "float32", data: Float32Array, shape: readonly number[]) => unknown;
  readonly InferenceSession: { create(path: string, options: object): Promise<{ run(feeds: Record<string, unknown>): Promise<unknown> }> };
}
const ort = peerRequire("onnxruntime-node") as Ort;
const folder = mkdtempSync(join(tmpdir(), "cogwheel-isa-onnx-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

const cases = {
  matmul: matmulCase({ m: 1024, k: 1920, n: 1920 }),
  conv3d: convCase({ cin: 128, cout: 128, taps: 3, frames: 12, height: 32, width: 32 }),
  attention: attentionCase({ heads: 30, length: 1024, width: 64 }),
};
for (const [name, c] of Object.entries(cases)) {
  for (const [variant, make] of Object.entries(onnxVariants[c.kind]!(c as never))) {
    writeSync(2, `@@ ${JSON.stringify({ case: `${name} f32`, kernel: "ONNX Runtime", label: variant })}\n`);
    try {
      const { model, inputs, layout } = make();
      const path = join(folder, "model.onnx");
      model.write(path);
      const session = await ort.InferenceSession.create(path, {
        executionProviders: [{ name: "webgpu", ...(layout ? { preferredLayout: layout } : {}) }],
      });
      await session.run(
        Object.fromEntries(Object.entries(inputs).map(([key, { shape, data }]) => [key, new ort.Tensor("float32", data, shape)])),
      );
    } catch (error) {
      writeSync(1, `${name} ${variant}: ${(error as Error).message}\n`);
    }
  }
}
process.exit(0);
