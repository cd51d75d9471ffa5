/** The weights that a graph asks for: what a checkpoint must hold to run it. */
import { CogwheelError } from "../base/errors.ts";
import type { Graph } from "./graph.ts";

/**
 * State-dict name → shape of every weight of a graph. Weights that are joined along their first axis share it evenly.
 * @param order parts of names (between dots), first to last: what comes first in a state dict. Numbers count up; what is not listed
 * comes last, in the order of recording. Default: the order of recording.
 */
export function weightsOf(graph: Graph, order: readonly string[] = []): Map<string, number[]> {
  const weights = new Map<string, number[]>();
  for (const { role, root, id, weights: names, shape } of graph.tensors) {
    if (role !== "weight" || root.id !== id) continue;
    const [joined = 1, ...rest] = shape;
    if (joined % names.length)
      throw new CogwheelError(
        "graph",
        `joined weights must share their first axis evenly, got [${shape.join(", ")}] for ${names.join(", ")}; record them apart`,
      );
    for (const name of names) weights.set(name, [joined / names.length, ...rest]);
  }
  if (order.length === 0) return weights;
  const rank = new Map(order.map((part, i) => [part, i]));
  const ranks = (name: string) => name.split(".").map((part) => (/^\d+$/.test(part) ? Number(part) : (rank.get(part) ?? order.length)));
  const keys = new Map([...weights.keys()].map((name) => [name, ranks(name)]));
  const before = (a: string, b: string): number => {
    const [one, other] = [keys.get(a)!, keys.get(b)!];
    const at = one.findIndex((n, i) => n !== other[i]);
    return at < 0 ? 0 : one[at]! - (other[at] ?? -1);
  };
  return new Map([...weights].sort(([a], [b]) => before(a, b)));
}
