/** A node of a model's graph by itself, on drawn data: what is measured of it needs no checkpoint. */
import { numberToF16 } from "../files/convert.ts";
import { elements } from "../graph/dtype.ts";
import { Graph } from "../graph/graph.ts";
import type { Inputs, Node } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import type { WeightProvider } from "../run/weight-store.ts";

export interface Isolated {
  /** Records the node with its outputs; the same one each time. */
  record(): Graph;
  /** Values for the inputs, made when asked for. */
  input(tensor: Tensor): ArrayBufferView;
  readonly weights: WeightProvider;
}

/**
 * The node on inputs of its own shapes and types; constants keep what they hold, weights keep their names. A node that computes
 * in an input's memory in the model does not so here, for inputs of a graph are never taken and every run is to compute the same: its
 * kernels are the model's but for that switch.
 */
export function isolate(node: Node): Isolated {
  const widths = new Map<string, number>();
  for (const tensor of Object.values(node.inputs as Inputs))
    if (tensor?.root.role === "weight") for (const name of tensor.root.weights) widths.set(name, rowOf(tensor));
  const shares = new Map<string, number>();
  for (const tensor of Object.values(node.inputs as Inputs)) {
    // Weights that are joined along their first axis share it evenly: only the number of values matters here.
    if (tensor?.root.role === "weight")
      for (const [i, name] of tensor.root.weights.entries()) {
        const count = tensor.root.weights.length;
        shares.set(name, Math.floor(((i + 1) * tensor.dim(0)) / count) - Math.floor((i * tensor.dim(0)) / count));
      }
  }
  return {
    record() {
      const graph = new Graph(node.name);
      const made = new Map<number, Tensor>();
      const inputs: Record<string, Tensor | undefined> = {};
      for (const [name, tensor] of Object.entries(node.inputs as Inputs)) {
        if (!tensor) continue;
        const known = made.get(tensor.id);
        const { role, weights, data } = tensor.root;
        inputs[name] =
          known ??
          (role === "weight"
            ? graph.weight(weights, tensor.shape, tensor.root.dtype)
            : role === "constant"
              ? graph.constant(name, data!, tensor.shape)
              : graph.input(name, tensor.shape, tensor.dtype));
        made.set(tensor.id, inputs[name]);
      }
      const outputs = graph.record(node.op, inputs as Inputs, node.attrs);
      for (const [name, tensor] of Object.entries(outputs)) graph.output(name in inputs ? `${name}'` : name, tensor);
      return graph;
    },
    input(tensor) {
      if (tensor.dtype === "f32") return drawn(tensor.size, 1);
      if (tensor.dtype === "f16") return halves(drawn(tensor.size, 1));
      // Rows of a table, ids: the first is always there.
      return new Uint32Array(tensor.size);
    },
    weights: {
      type: () => "f32",
      read: async (name, dtype) => {
        const width = widths.get(name)!;
        // Products of so many inputs stay near 1, as a model's do.
        const data = drawn(shares.get(name)! * width, Math.sqrt(3 / width));
        return dtype === "f16" ? halves(data) : data;
      },
    },
  };
}

const rowOf = (tensor: Tensor): number => elements(tensor.shape.slice(1));

/** Values repeat after a prime number of them: so many are enough, and quick to make. */
const PERIOD = 65521;

/** Values in −1 … 1 times `scale`, the same each time. */
function drawn(count: number, scale: number): Float32Array {
  let state = 1;
  return repeated(new Float32Array(count), () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return scale * (state / 2 ** 31 - 1);
  });
}

const halves = (data: Float32Array): Uint16Array => repeated(new Uint16Array(data.length), (i) => numberToF16(data[i]!));

function repeated<T extends Float32Array | Uint16Array>(out: T, value: (i: number) => number): T {
  const period = Math.min(out.length, PERIOD);
  for (let i = 0; i < period; i++) out[i] = value(i);
  for (let at = period; at < out.length; at += period) out.copyWithin(at, 0, Math.min(period, out.length - at));
  return out;
}
