/** How long a plan will take, from the rates that were measured on its adapter: nothing is run. */
import type { KernelRate, Rates } from "../gpu/rates.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { Cost, View } from "../graph/op.ts";
import type { Plan, PlanStep } from "./compile.ts";
import { viewOf } from "./dispatch.ts";

/** Operations a byte from which on arithmetic is what takes the time, on GPUs and on CPUs alike; most kernels are far from it. */
const BALANCE = 8;

/** Does arithmetic take the time, or moving bytes? */
export const computes = ({ flops, bytes }: Cost): boolean => flops > BALANCE * bytes;
const isHalf = (label: string): boolean => /\bf16\b/.test(label);
const nameOf = (label: string): string => label.split(" ", 1)[0]!;
/** The op's name, which its kernels' names begin with: `matmul_tiled` is a `matmul`. */
const opOf = (label: string): string => label.split(/[ _]/, 1)[0]!;

/** The shape of the largest weight that a step reads, if any: it tells the layers of a network apart that one kernel runs. */
export function weightOf({ dispatch }: Pick<PlanStep, "dispatch">): string | undefined {
  const weights = Object.values(dispatch.bindings).flatMap((binding) => {
    const { tensor } = viewOf(binding as Tensor | View);
    return tensor.root.role === "weight" ? tensor : [];
  });
  return weights.sort((a, b) => b.size - a.size)[0]?.shape.join("×");
}

/** Which of dispatches are about as much work: a factor of √2 apart at most. */
const sizeOf = (work: number): number => Math.round(2 * Math.log2(work));

/** Says how long steps take. What was not measured takes as long as what is most like it. */
export class Clock {
  readonly #found = new Map<string, readonly Point[]>();

  constructor(readonly rates: Rates) {}

  /** Seconds of one run of a plan whose kernels have run before. */
  seconds(plan: Pick<Plan, "steps">): number {
    return plan.steps.reduce((sum, step) => sum + this.#step(step), this.rates.runSeconds);
  }

  #step(step: PlanStep): number {
    const bound = computes(step.cost);
    return this.rates.dispatchSeconds + secondsAt(this.#line(step.label, weightOf(step), bound), workOf(step.cost, bound));
  }

  #line(label: string, weight: string | undefined, bound: boolean): readonly Point[] {
    const key = `${label} ${weight} ${bound}`;
    const found = this.#found.get(key) ?? lineOf(this.#like(label, weight, bound), bound);
    this.#found.set(key, found);
    return found;
  }

  #like(label: string, weight: string | undefined, bound: boolean): readonly KernelRate[] {
    const alike = Object.entries(this.rates.kernels).flatMap(([other, rates]) =>
      rates.filter((rate) => computes(rate) === bound && workOf(rate, bound) > 0).map((rate) => [other, rate] as const),
    );
    // With other weights, the same kernel otherwise specialised, another of the op, then whatever is bound by the same; first in the same type.
    const ways: ((other: string, rate: KernelRate) => boolean)[] = [
      (other, rate) => other === label && rate.weight === weight,
      (other) => other === label,
      (other) => nameOf(other) === nameOf(label) && isHalf(other) === isHalf(label),
      (other) => nameOf(other) === nameOf(label),
      (other) => opOf(other) === opOf(label) && isHalf(other) === isHalf(label),
      (other) => opOf(other) === opOf(label),
      () => true,
    ];
    for (const way of ways) {
      const group = alike.filter(([other, rate]) => way(other, rate));
      if (group.length) return group.map(([, rate]) => rate);
    }
    return [];
  }
}

interface Point {
  readonly work: number;
  readonly seconds: number;
}

const workOf = ({ flops, bytes }: Cost, bound: boolean): number => (bound ? flops : bytes);

/** What dispatches of each size took on average, from little work to much. */
function lineOf(rates: readonly KernelRate[], bound: boolean): Point[] {
  const sizes = new Map<number, Point[]>();
  for (const rate of rates) {
    const point = { work: workOf(rate, bound), seconds: rate.seconds };
    const size = sizeOf(point.work);
    sizes.set(size, [...(sizes.get(size) ?? []), point]);
  }
  const mean = (points: readonly Point[], of: keyof Point): number => points.reduce((sum, point) => sum + point[of], 0) / points.length;
  return [...sizes].sort(([a], [b]) => a - b).map(([, points]) => ({ work: mean(points, "work"), seconds: mean(points, "seconds") }));
}

/**
 * Between two sizes as their logarithms say, which is right for a launch that takes as long whatever it does, for one at a steady rate, and
 * about right between. More work than was measured goes on at the rate of the most; less falls as it fell before, and no faster than its
 * work.
 */
function secondsAt(line: readonly Point[], work: number): number {
  const [first, second] = line;
  const last = line.at(-1);
  if (!first || !last || !(work > 0)) return 0;
  if (work >= last.work) return last.seconds * (work / last.work);
  const above = line.findIndex((point) => point.work > work);
  const [low, high] = above === 0 ? [first, second ?? first] : [line[above - 1]!, line[above]!];
  const slope = high === low ? 1 : Math.log(high.seconds / low.seconds) / Math.log(high.work / low.work);
  return low.seconds * (work / low.work) ** (above === 0 ? Math.min(1, Math.max(0, slope)) : slope);
}
