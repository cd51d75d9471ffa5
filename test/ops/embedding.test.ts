import { expect, test } from "vitest";
import { embedding } from "../../src/ops/embedding.ts";
import { values } from "../support/compare.ts";
import { limitedGpu, runGraph, testGpu } from "../support/gpu.ts";

export const cases = [
  { tag: "tiny", vocab: 1, c: 4, tokens: 1 },
  { tag: "odd", vocab: 45, c: 20, tokens: 29 },
  { tag: "odd", vocab: 131, c: 260, tokens: 67 },
  { tag: "model", vocab: 32128, c: 4096, tokens: 226 },
];

const pick = (table: Float32Array, ids: Uint32Array, c: number): Float32Array => Float32Array.from({ length: ids.length * c }, (_, i) => table[ids[Math.floor(i / c)]! * c + (i % c)]!);
const someIds = (tokens: number, vocab: number): Uint32Array => Uint32Array.from({ length: tokens }, (_, i) => (i * 7919 + vocab - 1) % vocab);

test.each(cases.filter((c) => c.tag !== "model"))("embedding of $tokens ids in $vocab × $c", async ({ vocab, c, tokens }) => {
  const table = values(vocab * c, 1), ids = someIds(tokens, vocab);
  const out = await runGraph((g) => ({ y: embedding(g.input("ids", [tokens], "u32"), g.weight("t", [vocab, c])) }), { weights: { t: { data: table, shape: [vocab, c] } }, inputs: { ids } });
  expect(out["y"]).toEqual(pick(table, ids, c));
});

test("a table larger than a binding is read by windows", async () => {
  const [vocab, c, tokens] = [1000, 36, 150];
  const table = values(vocab * c, 1), ids = someIds(tokens, vocab);
  await using gpu = await limitedGpu({ maxBindingBytes: 16 * 1024, maxGrid: 5, immediates: false });
  const out = await runGraph((g) => ({ y: embedding(g.input("ids", [1, tokens], "u32"), g.weight("t", [vocab, c])) }), { gpu, weights: { t: { data: table, shape: [vocab, c] } }, inputs: { ids } });
  expect(out["y"]).toEqual(pick(table, ids, c));
});

test("f16 table", async ({ skip }) => {
  skip(!(await testGpu()).caps.f16, "needs an adapter with shader-f16");
  const table = values(40 * 8, 1).map((v) => Math.round(v * 1024) / 1024), ids = someIds(9, 40);
  const out = await runGraph((g) => ({ y: embedding(g.input("ids", [9], "u32"), g.weight("t", [40, 8])) }), { weights: { t: { data: table, shape: [40, 8] } }, weightType: "f16", inputs: { ids } });
  expect(out["y"]).toEqual(pick(table, ids, 8));
});

test("ids must be integers", async () => {
  await expect(runGraph((g) => ({ y: embedding(g.input("ids", [2]), g.input("t", [4, 4])) }))).rejects.toThrow(/\[embedding\] ids must be u32, got ids f32 \[2\]/);
});
