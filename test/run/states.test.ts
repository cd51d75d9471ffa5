/** Tensors that live from run to run: what nodes read of them, where their new values are computed, who shares them. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { Graph } from "../../src/graph/graph.ts";
import { rewrite } from "../../src/graph/rewrite.ts";
import type { Node } from "../../src/graph/op.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { rmsNorm } from "../../src/ops/rms_norm.ts";
import { silu } from "../../src/ops/silu.ts";
import { compile } from "../../src/plan/compile.ts";
import { Program } from "../../src/run/program.ts";
import { States } from "../../src/run/states.ts";
import { WeightStore } from "../../src/run/weight-store.ts";
import { expectClose, values } from "../support/compare.ts";
import { limitedGpu, memoryWeights, testGpu } from "../support/gpu.ts";

const [ROWS, WIDTH] = [6, 64];
const SIZE = ROWS * WIDTH;
const WEIGHTS = {
  w: { data: values(WIDTH ** 2, 1, 0.2), shape: [WIDTH, WIDTH] },
  norm: { data: values(WIDTH, 2).map((v) => 1 + v / 4), shape: [WIDTH] },
};
const silent = (data: Float32Array) => data.map((v) => v / (1 + Math.exp(-v)));

let gpu: Gpu;
let before: number;
beforeAll(async () => {
  gpu = await testGpu();
  before = gpu.memory.allocated;
});
afterAll(() => expect(gpu.memory.allocated, "bytes left behind by this file").toBe(before));

/** A program, with its weights until the test is over. */
async function program(graph: Graph, options: { states?: States } = {}) {
  const store = new WeightStore(gpu, memoryWeights(WEIGHTS));
  const made = await Program.create(gpu, compile(graph, gpu.caps), store, options);
  return Object.assign(made, {
    [Symbol.dispose]() {
      Program.prototype[Symbol.dispose].call(made);
      store[Symbol.dispose]();
    },
  });
}

test("every node reads what a state held when the run began, and the next run what it was given", async () => {
  const graph = new Graph("counter");
  const state = graph.state("s", [SIZE]);
  const next = silu(state);
  graph.update(state, next);
  graph.output("before", silu(state)); // recorded after what makes the new value
  graph.output("twice", silu(next));
  using counter = await program(graph);
  expect(counter.plan.bytes).toMatchObject({ states: 4 * SIZE, io: 8 * SIZE });
  let want = values(SIZE, 3, 3);
  counter.write("s", want);
  for (let run = 0; run < 3; run++) {
    await counter.run();
    expectClose(await counter.read("before"), silent(want), 1e-6);
    want = silent(want);
    expectClose(await counter.read("s"), want, 1e-6);
    expectClose(await counter.read("twice"), silent(want), 1e-6);
  }
});

test("a state is zeros, or its initial values, until something is written to it", async () => {
  const graph = new Graph("initial");
  const initial = values(SIZE, 4);
  graph.output("y", silu(graph.state("given", [SIZE], "f32", initial)));
  graph.output("z", silu(graph.state("zeros", [SIZE])));
  using started = await program(graph);
  await started.run();
  expectClose(await started.read("y"), silent(initial), 1e-6);
  expect(new Set(await started.read("z"))).toEqual(new Set([0]));
});

test("a sum is added to the state where it lies", async () => {
  const graph = new Graph("sum");
  const state = graph.state("s", [ROWS, WIDTH]);
  const sum = matmul(graph.input("x", [ROWS, WIDTH]), graph.weight("w", [WIDTH, WIDTH]), { residual: state });
  graph.update(state, sum);
  using adder = await program(graph);
  const { home, copies, bytes } = adder.plan;
  expect([home(sum), copies, bytes.activations]).toEqual([state, [], 0]);
  const x = values(SIZE, 5);
  await adder.run({ inputs: { x } });
  const once = await adder.read("s");
  await adder.run();
  await adder.run();
  expect(once.some((v) => v !== 0)).toBe(true);
  expectClose(
    await adder.read("s"),
    once.map((v) => 3 * v),
    1e-6,
  );
});

test("a value that is made without the state waits until the state was read, and is computed in it", async () => {
  const graph = new Graph("waiting");
  const state = graph.state("s", [SIZE]);
  const x = graph.input("x", [SIZE]);
  const next = silu(x);
  graph.update(state, next);
  graph.output("y", silu(state));
  using waiting = await program(graph);
  const { home, copies, steps, bytes } = waiting.plan;
  expect([home(next), copies, bytes.activations]).toEqual([state, [], 0]);
  expect(steps.map(({ node }) => node.id)).toEqual([1, 0]);
  const [first, second] = [values(SIZE, 6), values(SIZE, 7)];
  await waiting.run({ inputs: { x: first } });
  await waiting.run({ inputs: { x: second } });
  expectClose(await waiting.read("y"), silent(silent(first)), 1e-6);
  expectClose(await waiting.read("s"), silent(second), 1e-6);
});

test("programs that share states have them once, and go on from each other", async () => {
  const start = new Graph("start");
  start.update(start.state("s", [SIZE]), silu(start.input("x", [SIZE])));
  const go = new Graph("go");
  const state = go.state("s", [SIZE]);
  go.update(state, silu(state));
  const plans = [start, go].map((graph) => compile(graph, gpu.caps));
  const { allocated } = gpu.memory;
  using states = new States(gpu, plans);
  expect(gpu.memory.allocated - allocated).toBe(4 * SIZE);
  using first = await program(start, { states });
  using second = await program(go, { states });
  const x = values(SIZE, 8);
  await first.run({ inputs: { x } });
  await second.run();
  await second.run();
  const want = silent(silent(silent(x)));
  for (const one of [first, second]) expectClose(await one.read("s"), want, 1e-6);
  const saved = await states.save();
  expect([...saved.keys()]).toEqual(["s"]);
  // What was saved is what goes on.
  await second.run();
  const next = await second.read("s");
  first.write("s", new Uint8Array(saved.get("s")!));
  await second.run();
  expect(await second.read("s")).toEqual(next);

  const other = new Graph("other");
  other.update(other.state("s", [8]), silu(other.input("x", [8])));
  expect(() => new States(gpu, [...plans, compile(other, gpu.caps)])).toThrow(
    "[graph] programs share a state of one size and type, got s f32 [384] and s f32 [8] of other; name one of them otherwise",
  );
  await expect(program(other, { states })).rejects.toThrow(
    "[graph] programs share a state of one size and type, got s f32 [384] and s f32 [8]; name one of them otherwise",
  );
  expect(() => states.buffer("q")).toThrow('[graph] a state must be of one of the plans, got "q"; there are s');
});

test("shared states begin as any of their programs says, and are not left behind where one finds no room", async () => {
  const reader = (initial?: Float32Array) => {
    const graph = new Graph("reader");
    graph.output("y", silu(graph.state("s", [SIZE], "f32", initial)));
    return compile(graph, gpu.caps);
  };
  const initial = values(SIZE, 9);
  for (const plans of [
    [reader(), reader(initial)],
    [reader(initial), reader(), reader(initial.slice())],
  ]) {
    using states = new States(gpu, plans);
    expect(new Float32Array((await states.save()).get("s")!)).toEqual(initial);
  }
  expect(() => new States(gpu, [reader(initial), reader(values(SIZE, 8))])).toThrow(
    "[graph] programs share a state that begins with one value, got two for s f32 [384] of reader; name one of them otherwise",
  );

  await using small = await limitedGpu({ maxBufferBytes: 4096 });
  const graph = new Graph("large");
  graph.state("fits", [8]);
  graph.state("does not", [2048]);
  const { allocated } = small.memory;
  expect(() => new States(small, [compile(graph, small.caps)])).toThrow(
    'a buffer may have 4096 bytes on this adapter, got 8192 for "state.does',
  );
  expect(small.memory.allocated).toBe(allocated);
});

test("a run that stops after any of its nodes is repeated to the bit once its states are written again", async () => {
  const graph = new Graph("stopped");
  const [s, t] = ["s", "t"].map((name) => graph.state(name, [ROWS, WIDTH])) as [Tensor, Tensor];
  const mixed = matmul(rmsNorm(s, graph.weight("norm", [WIDTH])), graph.weight("w", [WIDTH, WIDTH]), { residual: t });
  graph.update(s, matmul(mixed, graph.weight("w", [WIDTH, WIDTH]), { residual: s }));
  graph.update(t, silu(mixed));
  using stopped = await program(graph);
  expect(stopped.plan.copies).toEqual([]);
  const begin = () => {
    for (const [i, name] of ["s", "t"].entries()) stopped.write(name, values(SIZE, 30 + i));
  };
  const held = async () => [await stopped.read("s"), await stopped.read("t")];
  begin();
  await stopped.run();
  const want = await held();
  for (const last of graph.nodes) {
    begin();
    const observe = (node: Node) => {
      if (node === last) throw new Error(`stopped after ${node.name}`);
    };
    await expect(stopped.run({ observe })).rejects.toThrow(`stopped after ${last.name}`);
    begin();
    await stopped.run();
    expect(await held(), last.name).toEqual(want);
  }
});

test("a pass of the caller's has no place for the copy of a state", async () => {
  const graph = new Graph("swap");
  const [a, b] = ["a", "b"].map((name) => graph.state(name, [SIZE])) as [Tensor, Tensor];
  graph.update(a, silu(b));
  graph.update(b, silu(a));
  using swap = await program(graph);
  expect(swap.plan.copies).toHaveLength(1);
  const encoder = gpu.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  expect(() => swap.encode(pass)).toThrow(
    /^\[graph\] a pass takes dispatches only, got a copy of silu\S* f32 \[384\] into the state [ab] of swap; use run$/,
  );
  pass.end();
  const [x, y] = [values(SIZE, 20), values(SIZE, 21)];
  swap.write("a", x);
  swap.write("b", y);
  await swap.run();
  expectClose(await swap.read("a"), silent(y), 1e-6);
  expectClose(await swap.read("b"), silent(x), 1e-6);
});

test("states of random graphs are what inputs and outputs are that the host copies, bit for bit", async () => {
  /** Three tensors to begin with, and what they become. */
  const record = (graph: Graph, seed: number, given: readonly Tensor[]): Tensor[] => {
    let drawn = seed;
    const roll = (n: number) => (drawn = (drawn * 1103515245 + 12345) % 2147483648) % n;
    const made = [...given];
    const one = () => made[roll(made.length)]!;
    for (let i = 0; i < 10; i++)
      made.push(
        [
          () => silu(one()),
          () => rmsNorm(one(), graph.weight("norm", [WIDTH])),
          () => matmul(one(), graph.weight("w", [WIDTH, WIDTH]), { residual: one() }),
        ][roll(3)]!(),
      );
    return given.map(() => made[given.length + roll(made.length - given.length)]!);
  };
  const names = ["a", "b", "c"];
  let [copied, inPlace] = [0, 0];
  for (let seed = 1; seed <= 12; seed++) {
    const plain = new Graph("plain");
    const inputs = names.map((name) => plain.input(name, [ROWS, WIDTH]));
    for (const [i, value] of record(plain, seed, inputs).entries()) plain.output(`${names[i]} next`, value);
    const kept = new Graph("kept");
    const states = names.map((name) => kept.state(name, [ROWS, WIDTH]));
    for (const [i, value] of record(kept, seed, states).entries()) kept.update(states[i]!, value);
    using want = await program(plain);
    // A copy of a graph has its states.
    using got = await program(seed % 2 ? kept : rewrite(kept).graph);
    copied += got.plan.copies.length;
    inPlace += names.length - got.plan.copies.length;
    const data = names.map((_, i) => values(SIZE, 10 * seed + i));
    for (const [i, name] of names.entries()) got.write(name, data[i]!);
    for (let run = 0; run < 3; run++) {
      await want.run({ inputs: Object.fromEntries(names.map((name, i) => [name, data[i]!])) });
      await got.run();
      for (const [i, name] of names.entries()) {
        data[i] = await want.read(`${name} next`);
        expect(await got.read(name), `seed ${seed}, run ${run}, ${name}`).toEqual(data[i]);
      }
    }
  }
  expect(Math.min(copied, inPlace), "states of each kind").toBeGreaterThan(2);
});

test("states and updates that cannot be are refused", async () => {
  const graph = new Graph("bad");
  const state = graph.state("s", [4]);
  expect(graph.state("s", [4])).toBe(state);
  expect(() => graph.state("s", [5])).toThrow(
    "[graph] a state has one shape and type, got s f32 [4] and f32 [5]; name one of them otherwise",
  );
  expect(() => graph.state("t", [4], "f32", new Float32Array(3))).toThrow(
    "[graph] a state's initial values must fill it and be of its type, which f16 cannot, got 3 in f32 for t f32 [4]; write them",
  );
  expect(() => graph.state("t", [4], "u32", new Float32Array(4))).toThrow("got 4 in f32 for t u32 [4]");
  const begun = graph.state("t", [4], "f32", new Float32Array([1, 2, 3, 4]));
  expect(graph.state("t", [4])).toBe(begun);
  expect(() => graph.state("t", [4], "f32", new Float32Array(4))).toThrow("[graph] a state begins with one value, got two for t f32 [4]");
  const x = graph.input("x", [4]);
  for (const twice of [() => graph.state("x", [4]), () => graph.input("s", [4])])
    expect(twice).toThrow(/^\[graph\] an input and a state have two names, got "[xs]" for both; rename one$/);
  const value = silu(x);
  expect(() => graph.update(x, value)).toThrow(
    "[graph] only a state of the graph can be updated, got the input x f32 [4]; make it with graph.state",
  );
  expect(() => graph.update(state, x)).toThrow(
    "[graph] a state takes a value of its size and type that a node computes, got the input x f32 [4] for s",
  );
  expect(() => graph.update(state, silu(graph.input("y", [8])))).toThrow("for s f32 [4]; convert it");
  graph.update(state, value);
  expect(() => graph.update(state, value)).toThrow("[graph] a state is updated once in a run, got two values for s f32 [4]; leave one out");
  graph.output("s", state);
  expect(() => compile(graph, gpu.caps)).toThrow("an output must be computed by a node or be an input, got the state s");
});
