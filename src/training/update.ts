/**
 * Records an update of parameters from their gradients, whatever model they are of: the norm of all of them, what clips it, each
 * parameter's step, and the moving average.
 */
import type { Graph } from "../graph/graph.ts";
import { elements } from "../graph/dtype.ts";
import type { Tensor } from "../graph/tensor.ts";
import { adamw } from "../ops/adamw.ts";
import { adamw8bit, adamw8bitState } from "../ops/adamw_8bit.ts";
import { ema } from "../ops/ema.ts";
import { gradientNorm, UPDATE_VALUES } from "../ops/gradient_norm.ts";
import { muon } from "../ops/muon.ts";
import { muonMomentum } from "../ops/muon_momentum.ts";
import { squareSum } from "../ops/square_sum.ts";
import type { Optimizer } from "./optimizer.ts";
import { orthogonal } from "./orthogonal.ts";
import type { Parameter } from "./parameters.ts";

/** Below this many values means stay in f32: they take little, and small tensors are the sensitive ones. */
const LEAST_8BIT = 4096;

const NAMES = {
  /** Gradients of micro-steps, added up. */
  gradient: "gradient:",
  /** The mean of the gradient, or Muon's momentum. */
  first: "first:",
  /** The mean of the gradient's square. */
  second: "second:",
  /** Both means in 8 bits. */
  means: "means:",
  /** The moving average of the parameter. */
  average: "average:",
} as const;

/** Name of a state that belongs to a parameter. */
export const stateName = (what: keyof typeof NAMES, parameter: string): string => NAMES[what] + parameter;

/** The states of parameters themselves among all of a graph. */
export const parameterNames = (states: Iterable<string>): string[] =>
  [...states].filter((name) => !Object.values(NAMES).some((prefix) => name.startsWith(prefix)));

/** Is the state a mean of gradients, or a momentum, which updates alone read? */
export const isMean = (state: string): boolean => [NAMES.first, NAMES.second, NAMES.means].some((prefix) => state.startsWith(prefix));

/** Is the state needed to go on from between two steps? Sums of gradients begin anew in every step. */
export const lasts = (state: string): boolean => !state.startsWith(NAMES.gradient);

export interface UpdateOptions {
  readonly optimizer: Optimizer;
  /** Is a moving average kept? */
  readonly average: boolean;
}

/**
 * Every parameter's state gets its next value. What the step depends on is the input `update` (`updateSettings`); the output `control`
 * tells the norm of all gradients, and whether they were finite, without which nothing changes.
 * @param gradients by parameter, f32 in its shape
 */
export function recordUpdate(graph: Graph, gradients: ReadonlyMap<Parameter, Tensor>, options: UpdateOptions): void {
  recordSteps(graph, gradients, recordControl(graph, gradients), options);
}

/** What an update's ops read besides gradients, from those of all parameters: the output `control`, by the input `update`. */
export const recordControl = (graph: Graph, gradients: ReadonlyMap<Parameter, Tensor>): Tensor =>
  graph.unwatched(() => {
    let sums: Tensor | undefined;
    for (const gradient of gradients.values()) sums = squareSum(gradient, sums);
    const control = gradientNorm(sums!, graph.input("update", [UPDATE_VALUES]));
    graph.output("control", control);
    return control;
  });

/** The steps of some of the parameters. @param control of all */
export function recordSteps(
  graph: Graph,
  gradients: ReadonlyMap<Parameter, Tensor>,
  control: Tensor,
  { optimizer, average }: UpdateOptions,
): void {
  graph.unwatched(() => {
    for (const [parameter, gradient] of gradients) {
      const { name, shape } = parameter;
      const p = graph.state(name, shape);
      const next = graph.scope(name, () => stepped(graph, parameter, p, gradient, control, optimizer));
      graph.update(p, next);
      if (!average) continue;
      const mean = graph.state(stateName("average", name), shape);
      graph.update(mean, ema(mean, next, control));
    }
  });
}

/** The next value of a parameter, by the rule that it has. */
function stepped(
  graph: Graph,
  { name, names, shape }: Parameter,
  p: Tensor,
  g: Tensor,
  control: Tensor,
  { name: rule, bits, adamOnly }: Optimizer,
): Tensor {
  const size = elements(shape);
  if (rule === "muon" && isHidden(shape) && !names.some((one) => adamOnly.some((part) => one.includes(part)))) {
    const m = graph.state(stateName("first", name), shape);
    const along = muonMomentum(m, g, control);
    graph.update(m, along.m);
    const matrix = [shape[0]!, size / shape[0]!];
    const update = graph.reshape(orthogonal(graph.reshape(along.direction, matrix)), shape);
    // Its root mean square is that of AdamW's steps then, so that one rate serves both.
    return muon(p, update, control, { scale: 0.2 * Math.sqrt(Math.max(...matrix)) });
  }
  if (bits === 8 && size >= LEAST_8BIT) {
    const state = graph.state(stateName("means", name), adamw8bitState(size), "u32");
    const next = adamw8bit({ p, state, g, control });
    graph.update(state, next.state);
    return next.p;
  }
  const [m, v] = [graph.state(stateName("first", name), shape), graph.state(stateName("second", name), shape)];
  const next = adamw({ p, m, v, g, control });
  graph.update(m, next.m);
  graph.update(v, next.v);
  return next.p;
}

/** A matrix, or a kernel that is one of its outputs. */
const isHidden = (shape: readonly number[]): boolean => shape.length > 1;
