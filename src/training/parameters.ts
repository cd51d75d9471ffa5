/**
 * What is trained: which weights of a model are parameters. A parameter is a state of the graph under its state-dict name, f32 and in the
 * checkpoint's layout, that stands where the model asks for the weight (`Graph.standIn`); where the model computes in f16 it is converted
 * on the way. `full.ts` and `lora.ts` say which there are.
 */
import { type Cotangent, differentiate, type DifferentiateOptions } from "../gradient/differentiate.ts";
import { watch } from "../gradient/watch.ts";
import type { AskedWeight, Graph } from "../graph/graph.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { LiveLoras } from "../models/cogvideox/linear.ts";
import { cast } from "../ops/cast.ts";

/** A trained tensor, as a graph asks for it. */
export interface Parameter {
  /** Of its state: the state-dict names, joined by "+". */
  readonly name: string;
  /** State-dict names, joined along the first axis; mostly one. */
  readonly names: readonly string[];
  readonly shape: readonly number[];
}

/** Values of a parameter before the first step: what the checkpoint holds, or given ones. */
export type InitialValues = "checkpoint" | Float32Array;

/** Which weights are trained. */
export interface Trained {
  readonly kind: "full" | "lora";
  /** Is this weight trained? Throws where it is in part. */
  has(names: readonly string[]): boolean;
  /** Adapters that the model has beside its weights. */
  readonly loras?: LiveLoras;
  /** What an input of the graph holds that belongs to the parameters and not to a step; undefined for other inputs. */
  input(name: string): Float32Array | undefined;
  initial(parameter: Parameter): InitialValues;
}

/** Gradients of parameters, by parameter: one that what is differentiated does not depend on has none, and is not updated. */
export function gradientsOf(
  cotangents: readonly Cotangent[],
  parameters: ReadonlyMap<Parameter, Tensor>,
  options?: DifferentiateOptions,
): Map<Parameter, Tensor> {
  const found = differentiate(cotangents, [...parameters.values()], options);
  return new Map([...parameters.keys()].flatMap((parameter, i) => (found[i] ? [[parameter, found[i]] as const] : [])));
}

/** A graph whose trained weights are states, which are watched, and its parameters in the order in which they are first asked for. */
export function standIns(trained: Trained): {
  readonly parameters: Map<Parameter, Tensor>;
  readonly standIn: (weight: AskedWeight, graph: Graph) => Tensor | undefined;
} {
  const parameters = new Map<Parameter, Tensor>();
  const standIn = ({ names, shape, dtype }: AskedWeight, graph: Graph): Tensor | undefined => {
    if (!trained.has(names)) return undefined;
    const name = names.join("+");
    const state = watch(graph.state(name, shape));
    parameters.set({ name, names, shape }, state as Tensor);
    return dtype === "f16" ? cast(state as Tensor, "f16") : (state as Tensor);
  };
  return { parameters, standIn };
}
