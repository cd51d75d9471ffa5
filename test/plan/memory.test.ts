import { beforeAll, describe, expect, it } from "vitest";
import type { Capabilities } from "../../src/gpu/capabilities.ts";
import type { BindingInfo } from "../../src/gpu/kernel.ts";
import { compile, type Plan } from "../../src/plan/compile.ts";
import { Graph } from "../../src/graph/graph.ts";
import type { Tensor } from "../../src/graph/tensor.ts";
import { viewOf } from "../../src/plan/dispatch.ts";
import { largestLiveSet, planMemory, type Lifetime } from "../../src/plan/memory.ts";
import { gatedGelu } from "../../src/ops/gated_gelu.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { qkNormRope } from "../../src/ops/qk_norm_rope.ts";
import { rmsNorm } from "../../src/ops/rms_norm.ts";
import { silu } from "../../src/ops/silu.ts";
import { values } from "../support/compare.ts";
import { runGraph, testGpu } from "../support/gpu.ts";

/** Repeatable whole numbers below n. */
function dice(seed: number): (n: number) => number {
  const drawn = values(100_000, seed);
  let at = 0;
  return (n) => Math.floor(((drawn[at++ % drawn.length]! + 1) / 2) * n) % n;
}

const alike = (a: Lifetime, b: Lifetime) => a.first <= b.last && b.first <= a.last;

describe("planMemory", () => {
  it("keeps the living apart and enemies in other arenas, over random lifetimes", () => {
    let waste = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const roll = dice(seed);
      const tensors: Lifetime[] = Array.from({ length: 1 + roll(40) }, (_, id) => {
        const first = roll(60);
        return { id, name: `t${id}`, bytes: 4 * (1 + roll(roll(4) === 0 ? 50_000 : 400)), first, last: first + roll(12) };
      });
      const enemies = Array.from({ length: roll(30) }, () => [roll(tensors.length), roll(tensors.length)] as [number, number]).filter(
        ([a, b]) => a !== b && alike(tensors[a]!, tensors[b]!),
      );
      const limit = 1 << 20;
      const plan = planMemory(tensors, enemies, 256, limit);
      const at = (t: Lifetime) => plan.placements.get(t.id)!;
      for (const [i, a] of tensors.entries()) {
        if (at(a).offset % 256 || at(a).offset + a.bytes > plan.arenas[at(a).arena]!)
          expect.fail(`seed ${seed}: ${a.name} lies at ${at(a).offset} of ${plan.arenas[at(a).arena]}`);
        for (const b of tensors.slice(i + 1)) {
          if (!alike(a, b) || at(a).arena !== at(b).arena) continue;
          if (at(a).offset + a.bytes > at(b).offset && at(b).offset + b.bytes > at(a).offset)
            expect.fail(`seed ${seed}: ${a.name} and ${b.name} lie on each other`);
        }
      }
      for (const [a, b] of enemies)
        expect(plan.placements.get(a)!.arena, `seed ${seed}: ${a} and ${b} share an arena`).not.toBe(plan.placements.get(b)!.arena);
      expect(Math.max(...plan.arenas)).toBeLessThanOrEqual(limit);
      if (enemies.length === 0)
        waste = Math.max(
          waste,
          plan.arenas.reduce((a, b) => a + b, 0) / largestLiveSet(tensors.map((t) => ({ ...t, bytes: Math.ceil(t.bytes / 256) * 256 }))),
        );
    }
    expect(waste, "worst plan without enemies, as a multiple of the largest live set").toBeLessThan(1.35);
  });

  it("knows the largest live set", () => {
    const life = (id: number, bytes: number, first: number, last: number): Lifetime => ({ id, name: "", bytes, first, last });
    expect(largestLiveSet([life(0, 10, 0, 2), life(1, 5, 2, 3), life(2, 8, 3, 4)])).toBe(15);
    expect(largestLiveSet([])).toBe(0);
  });

  it("takes another arena when one is full, and refuses what fits none", () => {
    const tensors = [0, 1, 2].map((id) => ({ id, name: `t${id}`, bytes: 1024, first: 0, last: 1 }));
    expect(planMemory(tensors, [], 256, 2048).arenas).toEqual([2048, 1024]);
    expect(() => planMemory(tensors, [], 256, 512)).toThrow(
      /^\[graph\] a tensor must fit a buffer of 512 bytes on this adapter, got 1024 for t0; /,
    );
  });
});

const WIDTH = 64;

/** Records a random network of real ops over `x` and `z` [rows, WIDTH]; all that was made, in order. */
function recordRandom(graph: Graph, seed: number): Tensor[] {
  const roll = dice(seed);
  const rows = 5 + (seed % 8);
  const made: Tensor[] = [graph.input("x", [rows, WIDTH]), graph.input("z", [rows, WIDTH])];
  const one = () => made[made.length - 1 - roll(Math.min(made.length, 6))]!;
  for (let i = 12 + roll(20); i > 0; i--) {
    switch (roll(6)) {
      case 0:
        made.push(silu(one()));
        break;
      case 1:
        made.push(rmsNorm(one(), graph.weight("norm", [WIDTH])));
        break;
      case 2:
        made.push(matmul(one(), graph.weight(`w${roll(2)}`, [WIDTH, WIDTH]), { residual: one() }));
        break;
      case 3:
        made.push(graph.reshape(silu(graph.reshape(one(), [rows * WIDTH])), [rows, WIDTH]));
        break;
      case 4: {
        const norm = graph.weight("heads", [2, WIDTH]);
        const [q, k] = [one(), one()].map((t) => graph.reshape(t, [1, rows, WIDTH])) as [Tensor, Tensor];
        const heads = qkNormRope(q, k, { norm: { q: norm, k: norm, eps: 1e-6 } });
        made.push(...[heads.q, heads.k].map((t) => graph.reshape(t, [rows, WIDTH])));
        break;
      }
      default:
        made.push(gatedGelu(matmul(one(), graph.weight("wide", [2 * WIDTH, WIDTH]))));
    }
  }
  return made.slice(2);
}

const WEIGHTS = {
  norm: { data: values(WIDTH, 5).map((v) => 1 + v / 4), shape: [WIDTH] },
  w0: { data: values(WIDTH ** 2, 6, 0.2), shape: [WIDTH, WIDTH] },
  w1: { data: values(WIDTH ** 2, 7, 0.2), shape: [WIDTH, WIDTH] },
  heads: { data: values(2 * WIDTH, 9), shape: [2, WIDTH] },
  wide: { data: values(2 * WIDTH ** 2, 8, 0.2), shape: [2 * WIDTH, WIDTH] },
};

/** Who uses what when, by looking at the dispatches alone. Returns how many results were computed in an input's memory. */
function checkPlan(plan: Plan): number {
  const { placements, arenas } = plan.memory;
  // Which tensor's values a memory holds: whoever reads a tensor must find its own.
  const holds = new Map<Tensor, Tensor>();
  let taken = 0;
  const life = new Map<number, { first: number; last: number; bytes: number; name: string }>();
  plan.steps.forEach((step, at) => {
    const used = { read: new Set<number>(), read_write: new Set<number>() };
    for (const [name, info] of Object.entries(step.dispatch.kernel.bindings) as [string, BindingInfo][]) {
      const { root: tensor } = viewOf(step.dispatch.bindings[name]!).tensor;
      const root = plan.home(tensor);
      if (tensor.role === "activation") {
        if (info.access === "read")
          expect(holds.get(root)?.name, `${step.node.name} reads ${tensor.name} from where it was`).toBe(tensor.name);
        else {
          if (holds.get(root) !== tensor && root !== tensor) taken++;
          holds.set(root, tensor);
        }
      }
      const placed = placements.get(root.id);
      if (!placed) continue;
      used[info.access].add(placed.arena);
      const known = life.get(root.id);
      if (known) known.last = at;
      else life.set(root.id, { first: at, last: at, bytes: root.bytes, name: root.name });
    }
    for (const arena of used.read)
      expect(used.read_write.has(arena), `dispatch ${at} (${step.node.name}) reads and writes arena ${arena}`).toBe(false);
  });
  const all = [...life];
  for (const [i, [a, first]] of all.entries()) {
    const [p, end] = [placements.get(a)!, placements.get(a)!.offset + first.bytes];
    expect(end).toBeLessThanOrEqual(arenas[p.arena]!);
    for (const [b, second] of all.slice(i + 1)) {
      const q = placements.get(b)!;
      if (p.arena !== q.arena || first.last < second.first || second.last < first.first) continue;
      if (end > q.offset && q.offset + second.bytes > p.offset) expect.fail(`${first.name} and ${second.name} lie on each other`);
    }
  }
  return taken;
}

describe("plans of random graphs", () => {
  let caps: Capabilities;
  beforeAll(async () => void (caps = (await testGpu()).caps));

  it("never overlap what is alive, take what is read later, nor mix reading and writing of an arena in a dispatch", () => {
    let [worst, taken] = [0, 0];
    for (let seed = 1; seed <= 60; seed++) {
      const graph = new Graph(`random ${seed}`);
      graph.output("last", recordRandom(graph, seed).at(-1)!);
      const plan = compile(graph, caps);
      taken += checkPlan(plan);
      worst = Math.max(worst, plan.bytes.activations / plan.bytes.lowerBound);
    }
    expect(taken, "results in an input's memory").toBeGreaterThan(40);
    // A dispatch needs two arenas, and each grows to what it ever holds.
    expect(worst, "worst plan as a multiple of the largest live set").toBeLessThan(2);
  });

  it("compute what the same graph computes with memory of its own for every tensor, bit for bit", async () => {
    for (let seed = 101; seed <= 112; seed++) {
      const size = (5 + (seed % 8)) * WIDTH;
      const options = { inputs: { x: values(size, seed), z: values(size, seed + 50) }, weights: WEIGHTS };
      const own = await runGraph((graph) => Object.fromEntries(recordRandom(graph, seed).map((y, i) => [`y${i}`, y])), options);
      const shared = await runGraph((graph) => ({ last: recordRandom(graph, seed).at(-1)! }), options);
      const want = own[`y${Object.keys(own).length - 1}`]!;
      expect(want.some((v) => v !== 0)).toBe(true);
      expect([...shared["last"]!], `seed ${seed}`).toEqual([...want]);
    }
  });
});
