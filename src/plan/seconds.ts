/** How long a plan will take, from the rates that were measured on its adapter: nothing is run. */
import type { Rates, KernelRate } from "../gpu/rates.ts";
import type { Cost } from "../graph/op.ts";
import type { Plan } from "./compile.ts";

/** Operations a byte from which on arithmetic is what takes the time, on GPUs and on CPUs alike; most kernels are far from it. */
const BALANCE = 8;

const computes = ({ flops, bytes }: Cost): boolean => flops > BALANCE * bytes;
const isHalf = (label: string): boolean => /\bf16\b/.test(label);
const nameOf = (label: string): string => label.split(" ", 1)[0]!;
/** The op's name, which its kernels' names begin with: `matmul_tiled` is a `matmul`. */
const opOf = (label: string): string => label.split(/[ _]/, 1)[0]!;

/** Says how long steps take. What was not measured takes as long as what is most like it. */
export class Clock {
  readonly #found = new Map<string, KernelRate | undefined>();

  constructor(readonly rates: Rates) {}

  /** Seconds of one run of a plan whose kernels have run before. */
  seconds(plan: Plan): number {
    return plan.steps.reduce((sum, { label, cost }) => sum + this.#step(label, cost), 0);
  }

  #step(label: string, cost: Cost): number {
    const bound = computes(cost);
    const rate = this.#rate(label, bound);
    if (!rate) return this.rates.dispatchSeconds;
    return this.rates.dispatchSeconds + rate.seconds * (bound ? cost.flops / rate.flops : cost.bytes / rate.bytes);
  }

  #rate(label: string, bound: boolean): KernelRate | undefined {
    const key = `${label} ${bound}`;
    if (!this.#found.has(key)) this.#found.set(key, this.#like(label, bound));
    return this.#found.get(key);
  }

  #like(label: string, bound: boolean): KernelRate | undefined {
    const alike = Object.entries(this.rates.kernels).filter(
      ([, rate]) => computes(rate) === bound && (bound ? rate.flops : rate.bytes) > 0,
    );
    const own = alike.find(([other]) => other === label);
    if (own) return own[1];
    // The same kernel otherwise specialised, then another of the op, then whatever is bound by the same; first in the same type.
    const ways: ((other: string) => boolean)[] = [
      (other) => nameOf(other) === nameOf(label) && isHalf(other) === isHalf(label),
      (other) => nameOf(other) === nameOf(label),
      (other) => opOf(other) === opOf(label) && isHalf(other) === isHalf(label),
      (other) => opOf(other) === opOf(label),
      () => true,
    ];
    for (const way of ways) {
      const group = alike.filter(([other]) => way(other));
      if (group.length) return together(group.map(([, rate]) => rate));
    }
    return undefined;
  }
}

const together = (rates: readonly KernelRate[]): KernelRate =>
  rates.reduce((a, b) => ({ flops: a.flops + b.flops, bytes: a.bytes + b.bytes, seconds: a.seconds + b.seconds }));
