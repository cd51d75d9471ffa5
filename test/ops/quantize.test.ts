/** quantize: the bytes that the host makes of the same numbers, whatever they are. */
import { expect, test } from "vitest";
import { quantizeCases } from "../../src/check/sweep/cases/quantize.ts";
import { quantize as onHost } from "../../src/files/quantize.ts";
import { drawn } from "../../src/check/sweep/draw.ts";
import { Graph } from "../../src/graph/graph.ts";
import { quantize } from "../../src/ops/quantize.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { memoryWeights, testGpu } from "../support/gpu.ts";
import { sweepTests } from "../support/sweep.ts";

sweepTests(quantizeCases);

/** Blocks of every magnitude that f32 has, of each a few; then bits as they come, with infinities and NaN among them. */
function numbers(): Float32Array {
  const sizes = Array.from({ length: 290 }, (_, i) => 2 ** (i - 150));
  const blocks = sizes.flatMap((size, i) => [...drawn(64, i + 1, 1.9 * size)]);
  const bits = Uint32Array.from({ length: 32 * 600 }, (_, i) => Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(i, 0x85ebca6b));
  const special = [0, -0, NaN, Infinity, -Infinity, 1e-45, -1e-45, 3e38, 65504, 65520, 6e-8, -3e-8];
  const rare = Float32Array.from({ length: 32 * 50 }, (_, i) => (i % 9 === 0 ? special[(i / 9) % special.length]! : drawn(1, i)[0]!));
  const halves = Float32Array.from({ length: 32 * 64 }, (_, i) => (i % 32 === 5 ? -8 : (i % 17) / 2 - 4 + ((i >> 5) % 5) * 2 ** -21));
  return Float32Array.from([...blocks, ...new Float32Array(bits.buffer), ...rare, ...halves]);
}

test.each(["q8_0", "q4_0"] as const)("%s: every magnitude, subnormals, infinities and NaN become the host's bytes", async (to) => {
  const gpu = await testGpu();
  const values = numbers();
  const graph = new Graph("quantize");
  graph.output("y", quantize(graph.input("x", [values.length], "u32"), { from: "f32", to, count: values.length }));
  using store = new WeightStore(gpu, memoryWeights({}));
  using program = await Program.create(gpu, compile(graph, gpu.caps), store);
  await program.run({ inputs: { x: new Uint32Array(values.buffer) } });
  const want = onHost(values, to);
  const got = new Uint8Array(await gpu.read(program.buffer("y"), 0, Math.ceil(want.length / 4) * 4));
  const size = to === "q8_0" ? 34 : 18;
  const wrong = Array.from({ length: want.length / size }, (_, i) => i).filter(
    (i) => !Buffer.from(got.subarray(i * size, (i + 1) * size)).equals(Buffer.from(want.subarray(i * size, (i + 1) * size))),
  );
  const told = wrong.slice(0, 3).map((i) => {
    const hex = (bytes: Uint8Array) => Buffer.from(bytes.subarray(i * size, (i + 1) * size)).toString("hex");
    return `block ${i}: got ${hex(got)}, expected ${hex(want)} of ${values.subarray(32 * i, 32 * i + 4).join(", ")}`;
  });
  expect(told.join("\n"), `${wrong.length} blocks`).toBe("");
});

test("what is no whole block is refused", () => {
  const graph = new Graph("quantize");
  expect(() => quantize(graph.input("x", [24], "u32"), { from: "f16", to: "q8_0", count: 48 })).toThrow(
    "[quantize] x must be the u32 words of whole blocks of 32 in f16, got x u32 [24] for 48; pad the rows",
  );
});
