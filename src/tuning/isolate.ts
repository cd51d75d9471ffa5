/** A node of a model's graph by itself, on drawn data: what is measured of it needs no checkpoint. */
import { numberToF16 } from "../base/half.ts";
import { quantize } from "../files/quantize.ts";
import { elements } from "../graph/dtype.ts";
import type { Graph } from "../graph/graph.ts";
import type { Node } from "../graph/op.ts";
import { rewrite } from "../graph/rewrite.ts";
import type { StoredWeight } from "../graph/stored.ts";
import type { Tensor } from "../graph/tensor.ts";
import { weightsOf } from "../graph/weights-of.ts";
import type { CompileOptions } from "../plan/compile.ts";
import { storedValues, type WeightProvider } from "../run/weight-provider.ts";

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
 * @param formats how its weights are stored in the model: those of q8_0 are here too
 */
export function isolate(node: Node, formats?: CompileOptions["formats"]): Isolated {
  const keys = new Map<number, string>();
  for (const [key, tensor] of Object.entries(node.inputs)) if (tensor && !keys.has(tensor.root.id)) keys.set(tensor.root.id, key);
  const record = (): Graph =>
    rewrite(Object.values(node.outputs)[0]!.graph as Graph, {
      name: node.name,
      nodes: [node],
      bring: (tensor, graph) => graph.input(keys.get(tensor.id)!, tensor.shape, tensor.dtype),
      outputs: Object.entries(node.outputs).map(([key, tensor]) => [key in node.inputs ? `${key}'` : key, tensor]),
    }).graph;
  const alone = record();
  const shapes = weightsOf(alone);
  const quantized = new Set(
    alone.tensors
      .filter(({ root: { role, weights: names, shape } }) => role === "weight" && formats?.({ names, shape }) === "q8_0")
      .flatMap(({ weights }) => weights),
  );
  return {
    record,
    input: isolatedInput,
    weights: {
      type: () => "f32",
      stored: (name) => {
        const shape = shapes.get(name)!;
        // Products of so many inputs stay near 1, as a model's do.
        const values = drawn(elements(shape), Math.sqrt(3 / elements(shape.slice(1))));
        return quantized.has(name) ? storedBlocks(name, quantize(values, "q8_0"), shape) : storedValues(name, values, shape);
      },
    },
  };
}

const storedBlocks = (label: string, blocks: Uint8Array, shape: readonly number[]): StoredWeight => ({
  label,
  shape,
  format: "q8_0",
  read: async (start, into) => into.set(blocks.subarray(start, start + into.length)),
});

/** Values repeat after a prime number of them: so many are enough, and quick to make. */
const PERIOD = 65521;

/** Values for an input. */
export function isolatedInput(tensor: Tensor): ArrayBufferView {
  if (tensor.dtype === "f32") return drawn(tensor.size, 1);
  if (tensor.dtype === "f16") return halves(drawn(tensor.size, 1));
  // Rows of a table, ids: the first is always there.
  return new Uint32Array(tensor.size);
}

/** Weights of any shape, as a model's are scaled, that are at hand at once: what takes the time of what reads them is their size. */
export function drawnWeights(shapes: ReadonlyMap<string, readonly number[]>, type: WeightProvider["type"]): WeightProvider {
  return {
    type,
    stored: (name) => {
      const shape = shapes.get(name)!;
      const scale = Math.sqrt(3 / Math.max(1, elements(shape.slice(1))));
      const bytes = new Uint8Array(halves(drawn(PERIOD, scale)).buffer);
      return {
        label: name,
        shape,
        format: "f16",
        read: async (start, into) => {
          for (let done = 0; done < into.length; ) {
            const from = (start + done) % bytes.length;
            const some = bytes.subarray(from, from + into.length - done);
            into.set(some, done);
            done += some.length;
          }
        },
      };
    },
  };
}

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
