/**
 * Records a module's graph, runs it once and reads its outputs, and where a case has cotangents the gradients that it asks for: how single
 * modules are validated.
 */
import { CogwheelError } from "../../base/errors.ts";
import { toFloat16 } from "../../files/convert.ts";
import { differentiate } from "../../gradient/differentiate.ts";
import { watch } from "../../gradient/watch.ts";
import { elements } from "../../graph/dtype.ts";
import { Graph, type AskedWeight } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import { cast } from "../../ops/cast.ts";
import { runGraph } from "../../run/run-graph.ts";
import { storedValues, type WeightProvider } from "../../run/weight-provider.ts";
import { Layout, type PartLayout } from "./layout.ts";
import type { ModuleContext } from "./module.ts";
import type { HostTensor, ReferenceCase } from "./reference-case.ts";
import type { Guide } from "./trace/tracer.ts";

/** A module as the engine records it, and how its tensors hold the reference's. */
export interface Recording {
  /** Of the graph, by how they hold `input.<argument>` of the case. */
  readonly inputs: Readonly<Record<string, Layout>>;
  /** Of inputs that the module makes of the case's, and of which there are no gradients. */
  readonly values?: Readonly<Record<string, ArrayBufferView>>;
  /** Of the graph, by how they hold the case's outputs. Default: each as it is, under its own name. */
  readonly outputs?: Readonly<Record<string, Layout>>;
  /** Records the module over its inputs; returns the outputs by the graph's names. */
  build(graph: Graph, inputs: Readonly<Record<string, Tensor>>): Readonly<Record<string, Tensor>>;
  /** What the graph calls a weight begins with this, and the case's name does not. Default: nothing. */
  readonly prefix?: string;
  /** How a weight of the graph holds `weight.<name>` or `lora.<i>.<name>` of the case. Default: as it is. */
  readonly weight?: (name: string) => Layout | undefined;
  /** Adapters that are merged into weights when they are loaded. */
  readonly changes?: WeightProvider["changes"];
  /** How the nodes can be traced. */
  readonly guide?: Guide;
}

/**
 * The outputs by the case's names, and gradients as `grad.input.<argument>`, `grad.weight.<name>` and `grad.lora.<i>.<name>`: at least
 * those that the case has.
 */
export async function runOnce(c: ReferenceCase, context: ModuleContext, recording: Recording): Promise<Record<string, HostTensor>> {
  const traced = recording.guide ? context.follow(recording.guide) : {};
  if (c.gradients.size === 0) return new OneRun(c, context, recording, false).run(traced);
  // A trace follows the graph as it is without gradients, where nodes are fused.
  if (traced.observe) await new OneRun(c, context, recording, false).run(traced);
  return new OneRun(c, context, recording, true).run();
}

/** An output as it was recorded. */
interface Made {
  readonly name: string;
  readonly tensor: Tensor;
  readonly layout: Layout;
}

/** One recording of the module's graph. */
class OneRun {
  readonly #tensors: ReadonlyMap<string, HostTensor>;
  readonly #inputs: Record<string, ArrayBufferView> = {};
  /** What gradients are of, and how it holds the case's tensors. */
  readonly #watched: { readonly tensor: Tensor; readonly layout: Layout }[] = [];
  readonly #graph: Graph;
  readonly #provider: WeightProvider;

  constructor(
    private readonly c: ReferenceCase,
    private readonly context: ModuleContext,
    private readonly recording: Recording,
    /** Are the case's gradients computed? */
    private readonly differentiated: boolean,
  ) {
    const named = (prefix: string, tensors: ReadonlyMap<string, HostTensor>) =>
      [...tensors].map(([name, tensor]) => [`${prefix}.${name}`, tensor] as const);
    this.#tensors = new Map([
      ...named("input", c.inputs),
      ...named("weight", c.weights),
      ...c.loras.flatMap((lora, i) => named(`lora.${i}`, lora)),
    ]);
    this.#provider = this.#weights();
    this.#graph = new Graph("the case", this.#provider.type, (weight) => (differentiated ? this.#standIn(weight) : undefined));
  }

  async run(traced: ReturnType<ModuleContext["follow"]> = {}): Promise<Record<string, HostTensor>> {
    const { context, recording } = this;
    const made = Object.entries(recording.build(this.#graph, this.#recordInputs())).map(([name, tensor]): Made => {
      this.#graph.output(name, tensor);
      return { name, tensor, layout: recording.outputs?.[name] ?? Layout.inOrder(name, tensor.shape) };
    });
    const gradients = this.#differentiate(made);
    for (const [i, gradient] of gradients.entries()) if (gradient) this.#graph.output(`grad.${i}`, gradient);
    const options = { checkFinite: context.checkFinite, ...traced };
    const got = await runGraph(context.gpu, this.#graph, { ...this.#inputs, ...recording.values }, this.#provider, options);
    const out: Record<string, HostTensor> = {};
    for (const { name, layout } of made) Object.assign(out, layout.unpack(got[name]!));
    for (const [i, { layout, tensor }] of this.#watched.entries())
      for (const [name, gradient] of Object.entries(layout.unpack(got[`grad.${i}`] ?? new Float32Array(tensor.size))))
        out[`grad.${name}`] = gradient;
    // What the graph did not ask for has no influence: a table of positions for another number of frames.
    for (const name of this.differentiated ? this.c.gradients.keys() : []) {
      const tensor = /^(weight|lora\.\d+)\./.test(name) ? this.#tensors.get(name) : undefined;
      if (tensor && !(`grad.${name}` in out)) out[`grad.${name}`] = { shape: tensor.shape, data: new Float32Array(tensor.data.length) };
    }
    return out;
  }

  #pack(layout: Layout, into: Tensor): void {
    const values = layout.pack(this.#tensors, `${this.c.name}: `);
    this.#inputs[into.name] = into.dtype === "f16" ? toFloat16(new Uint8Array(values.buffer), "F32") : values;
  }

  #watch(tensor: Tensor, layout: Layout): Tensor {
    this.#watched.push({ tensor, layout });
    return watch(tensor);
  }

  #recordInputs(): Record<string, Tensor> {
    return Object.fromEntries(
      Object.entries(this.recording.inputs).map(([name, layout]) => {
        const tensor = this.#graph.input(name, layout.shape, layout.dtype);
        this.#pack(layout, tensor);
        if (this.differentiated && layout.holds(this.c.gradients)) this.#watch(tensor, layout);
        return [name, tensor];
      }),
    );
  }

  /** From the case's cotangents, of what is watched; undefined where the outputs do not depend on it. */
  #differentiate(made: readonly Made[]): (Tensor | undefined)[] {
    const { c } = this;
    for (const name of c.cotangents.keys())
      if (!made.some(({ layout }) => name in layout.parts))
        throw new CogwheelError(
          "reference",
          `${c.name}: a cotangent must be of an output of ${c.module}, got cotangent.${name}; ` +
            `it has ${made.flatMap(({ layout }) => Object.keys(layout.parts)).join(", ")}`,
        );
    const cotangents = made.flatMap(({ name, tensor: of, layout }) => {
      if (!layout.holds(c.cotangents) || !this.#graph.isWatched(of)) return [];
      const gradient = this.#graph.input(`cotangent.${name}`, of.shape);
      this.#inputs[gradient.name] = layout.pack(c.cotangents, `${c.name}: cotangent.`);
      return [{ of, gradient }];
    });
    if (cotangents.length === 0) return this.#watched.map(() => undefined);
    return differentiate(
      cotangents,
      this.#watched.map(({ tensor }) => tensor),
    );
  }

  /** How a weight of the graph holds the case's tensors. */
  #layoutOf(name: string): Layout | undefined {
    const { prefix = "", weight } = this.recording;
    const own = name.startsWith(prefix) ? name.slice(prefix.length) : name;
    const tensor = this.c.weights.get(own);
    return weight?.(own) ?? (tensor && Layout.inOrder(`weight.${own}`, tensor.shape));
  }

  #weights(): WeightProvider {
    const { c, context, recording } = this;
    return {
      type: (name) => ((this.#layoutOf(name)?.shape.length ?? 0) > 1 ? context.dtype : "f32"),
      stored: (name) => {
        const layout = this.#layoutOf(name);
        if (!layout)
          throw new CogwheelError(
            "reference",
            `${c.name}: ${c.module} needs the weight ${name}, got none of that name; add weight.${name}`,
          );
        return storedValues(`${name} of ${c.name}`, layout.pack(this.#tensors, `${c.name}: `), layout.shape);
      },
      ...(recording.changes ? { changes: recording.changes } : {}),
    };
  }

  /** A weight that a gradient is of: in f32, and rounded where the model computes in f16, as one that is trained. */
  #standIn({ names, shape, dtype }: AskedWeight): Tensor | undefined {
    const layouts = names.map((name) => this.#layoutOf(name)!);
    if (!layouts.some((layout) => layout?.holds(this.c.gradients))) return undefined;
    const parts: Record<string, PartLayout> = {};
    let first = 0;
    for (const layout of layouts) {
      for (const [name, part] of Object.entries(layout.parts)) parts[name] = { ...part, first: first + (part.first ?? 0) };
      first += elements(layout.shape);
    }
    const layout = new Layout(shape, parts);
    const tensor = this.#graph.input(`weight.${names.join("+")}`, shape);
    this.#pack(layout, tensor);
    this.#watch(tensor, layout);
    // Kernels convert vectors of four; the few weights that are none stay as they are.
    return tensor.size % 4 ? tensor : cast(tensor, dtype);
  }
}
