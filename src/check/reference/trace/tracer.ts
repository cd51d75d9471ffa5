/**
 * Follows a module through its graph: what each node computes is compared with what the reference's modules gave (`trace.…`
 * of a case), so that a wrong result is traced to the first node that departs.
 *
 * The graph that runs is the real one, fused as it always is. So a model's guide (transformer.ts, t5.ts, vae.ts beside this file)
 * says of each node which of the reference's tensors it must equal: one, a part of one, or a few put together as the fusion does.
 */
import { CogwheelError } from "../../../base/errors.ts";
import type { Node } from "../../../graph/op.ts";
import type { Recorder, Tensor } from "../../../graph/tensor.ts";
import type { RunOptions } from "../../../run/program.ts";
import { compareTensors, type Comparison, type Threshold } from "../compare.ts";
import type { HostTensor, ReferenceCase } from "../reference-case.ts";

/** One comparison that a node allows. */
export interface Sight {
  /** The reference's module, by its path. */
  readonly module: string;
  /** What of it, or what is done to it, where that is not its plain output. */
  readonly what?: string;
  /** The node's output; its only one if left out. */
  readonly output?: string;
  /** In the reference's layout. Undefined where the trace does not hold what is needed. */
  readonly want: HostTensor | undefined;
  /** The node's values in that layout; as they are, without padding columns, if left out. */
  readonly arrange?: (data: Float32Array) => Float32Array;
}

/** What the reference's modules gave. */
export interface Reference {
  /** `path` or `path:part`, of the call that is being followed. */
  get(path: string): HostTensor | undefined;
  /** What the module as a whole got. */
  input(name: string): HostTensor | undefined;
  /** What the module as a whole gave. */
  output(name: string): HostTensor | undefined;
}

/** The comparisons that a node allows; none for one without a counterpart. */
export type Guide = (node: Node, reference: Reference) => readonly Sight[];

export interface TraceRow extends Omit<Comparison, "output"> {
  /** Number of the run, where a graph is run several times (frame batches of a VAE). */
  readonly call: number;
  /** The engine's node. */
  readonly node: string;
  readonly module: string;
  readonly what?: string;
}

export interface Trace {
  /** In the order of execution. */
  readonly rows: readonly TraceRow[];
  /** The first that departs beyond the limit. */
  readonly first: TraceRow | null;
  /** Nodes that nothing in the trace can be held against. */
  readonly unmatchedNodes: readonly string[];
  /** Modules of the trace that no node was held against: they are part of what a node does. */
  readonly unmatchedModules: readonly string[];
}

export class Tracer {
  readonly #rows: TraceRow[] = [];
  readonly #alone = new Set<string>();
  readonly #matched = new Set<string>();
  readonly #used = new Set<string>();
  #call = -1;
  /** Nodes of this call so far, all of one graph; a plan may run them in another order than they were recorded in. */
  readonly #seen = new Set<Node>();
  #graph: Recorder | undefined;

  constructor(
    /** `trace`: `<call>.<module path>` → tensor. */
    private readonly c: Pick<ReferenceCase, "trace" | "inputs" | "outputs">,
    private readonly threshold: Threshold,
  ) {}

  /** What to hand to a run. Runs are calls: the second run of a graph, or of one that goes on from it, is the modules' second call. */
  follow(guide: Guide): NonNullable<RunOptions["observe"]> {
    return async (node, read) => {
      const { graph } = Object.values(node.outputs)[0]!;
      if (graph !== this.#graph || this.#seen.has(node)) {
        this.#call++;
        this.#graph = graph;
        this.#seen.clear();
      }
      this.#seen.add(node);
      const call = this.#call;
      const key = (path: string) => `${call}.${path}`;
      const sights = guide(node, {
        get: (path) => {
          const tensor = this.c.trace.get(key(path));
          if (tensor) this.#used.add(key(path));
          return tensor;
        },
        input: (name) => this.c.inputs.get(name),
        output: (name) => this.c.outputs.get(name),
      });
      const outputs = node.outputs as Readonly<Record<string, Tensor>>;
      let compared = false;
      for (const { module, what, output = Object.keys(outputs)[0]!, want, arrange } of sights) {
        if (!want) continue;
        const values = await read(output);
        const data = arrange ? arrange(values) : unpadded(values, outputs[output]!.dim(-1), want.shape.at(-1) ?? 1);
        if (data.length !== want.data.length)
          throw new CogwheelError(
            "trace",
            `${module} must have as many values as the reference's [${want.shape.join(", ")}], ` +
              `got ${data.length} from ${node.name}; the trace is of another size than the case`,
          );
        const { output: _, ...figures } = compareTensors(module, { shape: want.shape, data }, want, this.threshold);
        this.#rows.push({ call, node: node.name, module, ...(what ? { what } : {}), ...figures });
        compared = true;
      }
      (compared ? this.#matched : this.#alone).add(node.name);
    };
  }

  get result(): Trace {
    const path = (key: string) => key.slice(key.indexOf(".") + 1).replace(/:\w+$/, "");
    const seen = new Set([...[...this.#used].map(path), ...this.#rows.map((row) => row.module)]);
    return {
      rows: this.#rows,
      first: this.#rows.find((row) => row.verdict === "fail") ?? null,
      unmatchedNodes: [...this.#alone].filter((name) => !this.#matched.has(name)),
      unmatchedModules: [...new Set([...this.c.trace.keys()].map(path))].filter((name) => !seen.has(name)),
    };
  }
}

/** Where a node got its weights: state-dict names of its first weight, without their last part (`.weight`). */
export function weightModules(node: Node): string[] {
  const weight = Object.values(node.inputs).find((tensor) => tensor?.role === "weight");
  return weight ? weight.root.weights.map((name) => name.replace(/\.\w+$/, "")) : [];
}

/** A tensor of the same shape whose value i is f(i). */
export const tensorOf = (shape: readonly number[], f: (i: number) => number): HostTensor => ({
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => f(i)),
});

export const silu = (tensor: HostTensor | undefined): HostTensor | undefined =>
  tensor && tensorOf(tensor.shape, (i) => tensor.data[i]! / (1 + Math.exp(-tensor.data[i]!)));

const unpadded = (data: Float32Array, width: number, wanted: number): Float32Array =>
  wanted < width && width - wanted < 4 ? columns(width, 0, wanted)(data) : data;

/** Columns [from, from + count) of rows of `width`. */
export const columns =
  (width: number, from: number, count: number) =>
  (data: Float32Array): Float32Array => {
    const out = new Float32Array((data.length / width) * count);
    for (let row = 0; row * width < data.length; row++) out.set(data.subarray(row * width + from, row * width + from + count), row * count);
    return out;
  };

/** [N, R, K] → [R, N·K] */
export const rowsFirst =
  ([heads, rows, k]: readonly number[]) =>
  (data: Float32Array): Float32Array => {
    const out = new Float32Array(data.length);
    for (let n = 0; n < heads!; n++)
      for (let r = 0; r < rows!; r++) out.set(data.subarray((n * rows! + r) * k!, (n * rows! + r + 1) * k!), (r * heads! + n) * k!);
    return out;
  };
