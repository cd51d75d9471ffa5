/** A run that gives tensors away and waits for inputs while it is under way. */
import { expect, test } from "vitest";
import { Graph } from "../../src/graph/graph.ts";
import { silu } from "../../src/ops/silu.ts";
import { add } from "../../src/ops/add.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { testGpu } from "../support/gpu.ts";

/** a = silu(x), read by nobody else; y = silu(silu(x) + later). */
async function program() {
  const gpu = await testGpu();
  const graph = new Graph("exchange");
  const x = graph.input("x", [64]);
  const given = silu(x);
  const y = silu(add(silu(x), graph.input("late", [64])));
  graph.output("y", y);
  const store = new WeightStore(gpu, {
    type: () => "f32",
    stored: () => {
      throw new Error("there are no weights");
    },
  });
  return { given, store, program: await Program.create(gpu, compile(graph, gpu.caps, { taken: [given] }), store) };
}

const sigmoid = (v: number): number => v / (1 + Math.exp(-v));
const x = Float32Array.from({ length: 64 }, (_, i) => (i - 30) / 7);

test("an input may come of what the run itself gave away, and what was taken is what was computed", async () => {
  const { program: made, store, given } = await program();
  using _store = store;
  using run = made;
  for (let turn = 0; turn < 2; turn++) {
    let taken: Float32Array | undefined;
    let there = (): void => undefined;
    const came = new Promise<void>((resolve) => (there = resolve));
    await run.run({
      inputs: { x },
      taken: new Map([
        [
          given,
          (bytes) => {
            taken = new Float32Array(bytes);
            there();
          },
        ],
      ]),
      later: new Map([
        [
          "late",
          async () => {
            await came;
            return taken!.map((v) => 2 * v + turn);
          },
        ],
      ]),
    });
    const y = await run.read("y");
    for (const [i, v] of x.entries()) {
      expect(taken![i]).toBeCloseTo(sigmoid(v), 5);
      expect(y[i]).toBeCloseTo(sigmoid(3 * sigmoid(v) + turn), 4);
    }
  }
});

test("an error of what takes, or of what is waited for, ends the run", async () => {
  const { program: made, store, given } = await program();
  using _store = store;
  using run = made;
  const fails = async (): Promise<never> => {
    throw new Error("no room");
  };
  await expect(run.run({ inputs: { x }, later: new Map([["late", fails]]) })).rejects.toThrow("no room");
  await expect(run.run({ inputs: { x, late: x }, taken: new Map([[given, fails]]) })).rejects.toThrow("no room");
  await run.run({ inputs: { x, late: x } });
});
