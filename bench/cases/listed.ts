/**
 * The ops' own case lists, which their tests and `cogwheel validate --sweep` run, at the widths of the published models: one list for
 * what is right and for what is fast. No peer builds these; their check is the list's own reference in float64.
 */
import { allCases } from "#sweep-cases";
import type { OpCase, OpCases } from "../../src/check/sweep/case.ts";
import type { BenchCase } from "./case.ts";

export interface ListedSizes {
  readonly op: string;
  readonly name: string;
}

/** Cases that differ only in which tensors f16 storage makes f16 are one here. */
const plain = (name: string): string => name.replace(/ \(\w*\)$/, "");

export const listedCases: readonly BenchCase<"listed", ListedSizes>[] = allCases.flatMap(({ op, cases, tolerance }) =>
  cases
    .filter((c) => c.size === "model" && !c.limits)
    .filter((c, i, all) => all.findIndex((o) => plain(o.name) === plain(c.name)) === i)
    .map((c) => ({
      name: `${op}: ${plain(c.name)}`,
      level: "op" as const,
      kind: "listed" as const,
      sizes: { op, name: c.name },
      inputs: {},
      weights: {},
      output: [],
      tolerance: c.tolerance?.f32 ?? tolerance.f32,
    })),
);

/** The list's case that a bench case stands for. */
export function listed({ op, name }: ListedSizes): { list: OpCases; c: OpCase } {
  const list = allCases.find((l) => l.op === op)!;
  return { list, c: list.cases.find((c) => c.name === name)! };
}
