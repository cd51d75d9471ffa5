/**
 * From a micro-step's gradients to the graphs of a step, whatever model they are of. With one micro-step a step is one graph; else
 * micro-steps add up gradients in states, which the update reads.
 */
import { elements } from "../base/shape.ts";
import { Graph } from "../graph/graph.ts";
import type { Tensor } from "../graph/tensor.ts";
import { accumulate } from "../ops/accumulate.ts";
import { UPDATE_VALUES } from "../ops/gradient_norm.ts";
import type { Parameter } from "./parameters.ts";
import { parameterNames, recordControl, recordSteps, recordUpdate, stateName, type UpdateOptions } from "./update.ts";

/** Forward, loss and gradients of a micro-step. */
export interface RecordedMicro {
  readonly graph: Graph;
  readonly gradients: ReadonlyMap<Parameter, Tensor>;
}

/** The graph of a step with one micro-step: the update's control is an output beside those of the micro-step. */
export function withUpdate({ graph, gradients }: RecordedMicro, options: UpdateOptions): Graph {
  recordUpdate(graph, gradients, options);
  return graph;
}

/** The graph of one micro-step of several: its gradients are added to those of the ones before, unless `begun` says that it is the first. */
export function withSums({ graph, gradients }: RecordedMicro): Graph {
  graph.unwatched(() => {
    const begun = graph.input("begun", [4]);
    for (const [parameter, gradient] of gradients) {
      const sum = graph.state(stateName("gradient", parameter.name), parameter.shape);
      graph.update(sum, accumulate(sum, gradient, begun));
    }
  });
  return graph;
}

/** The parameters whose gradients such a micro-step adds up. */
const summed = (like: Graph): Parameter[] =>
  parameterNames(like.states.keys()).flatMap((name) => {
    const sum = like.states.get(stateName("gradient", name));
    return sum ? [{ name, names: name.split("+"), shape: sum.shape }] : [];
  });

const sumsOf = (graph: Graph, parameters: readonly Parameter[]): Map<Parameter, Tensor> =>
  new Map(parameters.map((parameter) => [parameter, graph.state(stateName("gradient", parameter.name), parameter.shape)]));

/** The graph of an update after several micro-steps. @param like a graph of such a micro-step */
export function updateGraph(options: UpdateOptions, like: Graph): Graph {
  const graph = new Graph("update");
  recordUpdate(graph, sumsOf(graph, summed(like)), options);
  return graph;
}

/** The most values of parameters whose means are on the device together: 128 MB of two means in f32. A larger tensor goes by itself. */
const PIECE_VALUES = 2 ** 24;

/**
 * The same update in graphs that follow each other: the first gives `control`, which the others, each of some parameters, take as an input.
 * Together they do what the one graph does, to the same bytes.
 */
export function updatePieces(options: UpdateOptions, like: Graph): [Graph, ...Graph[]] {
  const parameters = summed(like);
  const first = new Graph("update.control");
  recordControl(first, sumsOf(first, parameters));
  const pieces: Parameter[][] = [];
  let values = Infinity;
  for (const parameter of parameters) {
    const size = elements(parameter.shape);
    if (values + size > PIECE_VALUES) {
      pieces.push([]);
      values = 0;
    }
    pieces.at(-1)!.push(parameter);
    values += size;
  }
  return [
    first,
    ...pieces.map((own) => {
      const graph = new Graph("update.piece");
      recordSteps(graph, sumsOf(graph, own), graph.input("control", [UPDATE_VALUES]), options);
      return graph;
    }),
  ];
}
