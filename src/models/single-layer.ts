/** A layer of a model by itself, to ask what it makes of an input: what two sets of its weights differ in, say. */
import type { Graph } from "../graph/graph.ts";

export interface SingleLayer {
  /** What the names of its weights begin with, without the dot. */
  readonly name: string;
  /** Takes `hidden` and what else the layer is given, and gives `out`. */
  readonly graph: Graph;
  /** Inputs that are drawn from a normal distribution, with their shapes; `silu`: what comes from it goes through SiLU first. */
  readonly inputs: readonly { readonly name: string; readonly shape: readonly number[]; readonly silu?: boolean }[];
}
