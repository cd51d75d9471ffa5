/**
 * From a micro-step's gradients to the graphs of a step, whatever model they are of. With one micro-step a step is one graph; else
 * micro-steps add up gradients in states, which the update reads.
 */
import { Graph } from "../graph/graph.ts";
import type { Tensor } from "../graph/tensor.ts";
import { accumulate } from "../ops/accumulate.ts";
import type { Parameter } from "./parameters.ts";
import { parameterNames, recordUpdate, stateName, type UpdateOptions } from "./update.ts";

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

/** The graph of an update after several micro-steps. @param like a graph of such a micro-step */
export function updateGraph(options: UpdateOptions, like: Graph): Graph {
  const graph = new Graph("update");
  const gradients = new Map(
    parameterNames(like.states.keys()).flatMap((name) => {
      const sum = like.states.get(stateName("gradient", name));
      return sum ? [[{ name, names: name.split("+"), shape: sum.shape }, graph.state(sum.name, sum.shape)] as const] : [];
    }),
  );
  recordUpdate(graph, gradients, options);
  return graph;
}
