/**
 * Which of several kernels carries out an op. An op lists those that the adapter can run for a shape, the one that its capabilities speak
 * for first, under a key that shapes of one kind share; a table of measurements (docs/tuning.md) may name another of them. Nothing
 * else decides: the same graph, capabilities and table give the same plan.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Node, Variant } from "../graph/op.ts";

/** What was measured: a variant's label by the key of its choice. */
export type Choices = Readonly<Record<string, string>>;

/** A choice that was made for a node of a plan. */
export interface Choice {
  readonly node: Node;
  readonly key: string;
  /** Label of the chosen variant. */
  readonly variant: string;
  /** Labels of all that this adapter can run here; the first is taken without a measurement. */
  readonly candidates: readonly string[];
  /** Did a table of measurements decide? */
  readonly tuned: boolean;
}

/** How the kernels of some work were chosen: by a table of measurements, by the adapter's capabilities, or some by each. */
export type HowChosen = "tuned" | "partly tuned" | "by capability";

/** null where there was no choice. */
export function howChosen(choices: readonly Choice[]): HowChosen | null {
  if (choices.length === 0) return null;
  const tuned = choices.filter((c) => c.tuned).length;
  return tuned === choices.length ? "tuned" : tuned ? "partly tuned" : "by capability";
}

/** `tiled bm=64 bn=64 …`: the variant's name and all its numbers. */
export function variantLabel({ name, ...rest }: Variant): string {
  const parts = (record: object): string[] =>
    Object.entries(record).flatMap(([key, value]) => (typeof value === "object" ? parts(value as object) : [`${key}=${value}`]));
  return [name, ...parts(rest)].join(" ");
}

/** Above so many rows the choice of a kernel does not depend on how many there are. */
const MANY = 16384;

/** Numbers of rows that share a choice: up to the next power of two, from 16, and all above 16,384. */
export function sizeClass(count: number): string {
  if (count > MANY) return `>${MANY}`;
  return `≤${Math.max(16, 2 ** Math.ceil(Math.log2(count)))}`;
}

/**
 * `matmul m≤1024 n=1920 k=1920 f32 f32 f32`: `rounded` sizes by their class, `exact` ones as they are, then storage types. What a variant
 * can run may depend on the exact ones alone, so that every shape of a key has the same candidates.
 */
export function choiceKey(
  op: string,
  rounded: Readonly<Record<string, number>>,
  exact: Readonly<Record<string, number | string>>,
  types: readonly string[],
): string {
  return [
    op,
    ...Object.entries(rounded).map(([name, count]) => `${name}${sizeClass(count)}`),
    ...Object.entries(exact).map(([name, value]) => `${name}=${value}`),
    ...types,
  ].join(" ");
}

/** The candidate that the table names for this key, else the first. */
export function choose<V extends Variant>(key: string, candidates: readonly V[], tuning: Choices = {}): { variant: V; tuned: boolean } {
  if (candidates.length === 0)
    throw new CogwheelError(
      "kernels",
      "an adapter must run a kernel for every kind of work, " +
        `got none for "${key}" within its limits; open one with WebGPU's own limits at least`,
    );
  const wanted = Object.hasOwn(tuning, key) ? tuning[key] : undefined;
  if (wanted === undefined) return { variant: candidates[0]!, tuned: false };
  const variant = candidates.find((candidate) => variantLabel(candidate) === wanted);
  if (!variant) {
    throw new CogwheelError(
      "tuning",
      "a tuned variant must be one that this adapter can run, " +
        `got ${JSON.stringify(wanted)} for "${key}", which has ${candidates.map((c) => JSON.stringify(variantLabel(c))).join(", ")}; ` +
        `run \`cogwheel tune\` again, or open with tuning: false`,
    );
  }
  return { variant, tuned: true };
}

/** The preferred candidate first, if there is one, then the others, each once. */
export function preferring<V extends Variant>(preferred: V | undefined, all: readonly V[]): V[] {
  if (!preferred) return [...all];
  const first = variantLabel(preferred);
  return [preferred, ...all.filter((v) => variantLabel(v) !== first)];
}
