/** Graph → plan: which kernels run, over which memory. Needs no GPU, only the capabilities of one. */
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "../gpu/capabilities.ts";
import { kernelLabel, type BindingInfo } from "../gpu/kernel.ts";
import { choose, howChosen, variantLabel, type Choice, type HowChosen } from "./choice.ts";
import type { Graph } from "../graph/graph.ts";
import type { Cost, Dispatch, Node, Target, View } from "../graph/op.ts";
import { Tensor } from "../graph/tensor.ts";
import { viewOf } from "./dispatch.ts";
import { packOperands } from "./pack-operands.ts";
import { inPlace, type InPlace } from "./in-place.ts";
import { packedBytes, type Packing } from "../graph/packing.ts";
import { storedBytes, type Format } from "../graph/stored.ts";
import { planMemory, type MemoryPlan } from "./memory.ts";
import { planSlots, type SlotPlan } from "./slots.ts";
import type { WeightRequest } from "./weight-request.ts";

export type { WeightRequest };

export interface PlanStep {
  readonly node: Node;
  readonly dispatch: Dispatch;
  readonly label: string;
  /** Its share of the node's cost. */
  readonly cost: Cost;
  /** How its node's kernel was chosen, where there was a choice. */
  readonly chosen: HowChosen | null;
}

/** What `compile` is told beside the graph and the adapter. */
export interface CompileOptions {
  /**
   * How a weight is stored, wherever it lies while it is used, for kernels that read it so; null where that is not known, or names that
   * are joined differ. Default: nothing is known.
   */
  readonly formats?: (weight: Pick<WeightRequest, "names" | "shape">) => Format | null;
  /**
   * Is a weight streamed: not kept on the device, but brought before its use in every run, into memory that streamed weights share?
   * Default: none is.
   */
  readonly stream?: (request: WeightRequest) => boolean;
  /**
   * In which format a weight stays on the device as it is stored, to be unpacked before its use in every run into the memory that streamed
   * weights share; null where it lies there as its kernels read it. All names of a request have one format. A weight that is streamed is
   * not asked about. Default: none does.
   */
  readonly asStored?: (request: WeightRequest) => Format | null;
  /**
   * How much memory they share: so many times what the largest layer of them takes (`layerOf`), not necessarily a whole number. Default 2:
   * one layer computes while the next comes. What one step reads at once always has room.
   */
  readonly slots?: number;
  /** Tensors that a run gives away while it is under way (`RunOptions.taken`): they are computed though nothing may read them. */
  readonly taken?: readonly Tensor[];
}

/** What `compile` gives: the dispatches of a graph in order, the weights it needs, and its memory. */
export interface Plan {
  readonly graph: Graph;
  readonly caps: Capabilities;
  readonly options: CompileOptions;
  readonly steps: readonly PlanStep[];
  /** The kernels that were chosen among several, in the order of the nodes. */
  readonly choices: readonly Choice[];
  readonly memory: MemoryPlan;
  /** The tensor in whose memory a tensor lies: another's, where a result took it, else its own root. */
  readonly home: InPlace["home"];
  /** States whose new values are copied into them when a run is over. */
  readonly copies: InPlace["copies"];
  /** Weights that stay on the device. */
  readonly weights: ReadonlyMap<string, WeightRequest>;
  /** Weights that stay on the device as they are stored, by the keys of what they are unpacked to. */
  readonly asStored: ReadonlyMap<string, { readonly weight: WeightRequest; readonly format: Format; readonly bytes: number }>;
  /** Weights that are brought in every run. */
  readonly streamed: ReadonlyMap<string, WeightRequest>;
  /** Where and for which steps they are brought. */
  readonly slots: SlotPlan;
  readonly constants: readonly Tensor[];
  readonly bytes: {
    /** Of weights that stay, in whatever form. */
    readonly weights: number;
    /** The memory that weights share which are streamed or unpacked. */
    readonly slots: number;
    /** What is brought to the device in a run. */
    readonly streamed: number;
    readonly activations: number;
    /** Inputs, outputs and constants. */
    readonly io: number;
    /** Tensors that live from run to run; programs that share them have them once. */
    readonly states: number;
    readonly lowerBound: number;
    readonly total: number;
  };
  readonly cost: Cost;
}

export const weightKey = (tensor: Tensor, packing: Packing): string =>
  `${tensor.root.weights.join("+")}|${tensor.shape.join("×")}|${packing}|${tensor.dtype}`;

/** A node's cost over its dispatches. */
function shareCost(whole: Cost, dispatches: readonly Dispatch[]): Cost[] {
  const own = dispatches.map((d) => d.cost);
  const others = own.filter((c) => !c).length || 1;
  const spent = (key: keyof Cost) => own.reduce((n, c) => n + (c?.[key] ?? 0), 0);
  const rest: Cost = {
    flops: Math.max(0, whole.flops - spent("flops")) / others,
    bytes: Math.max(0, whole.bytes - spent("bytes")) / others,
  };
  return own.map((c) => c ?? rest);
}

/** Lowers a recorded graph to dispatches for an adapter, and places its tensors in memory: no device is needed. Throws `CogwheelError`. */
export function compile(graph: Graph, caps: Capabilities, options: CompileOptions = {}): Plan {
  const steps: PlanStep[] = [];
  const scratch: Tensor[] = [];
  const choices: Choice[] = [];
  const places = inPlace(graph, options.taken);
  const layouts = new Map<string, Set<Packing>>();
  for (const node of places.order) {
    const own: Choice[] = [];
    const target: Target = {
      caps,
      inPlace: places.nodes.has(node),
      formatOf: ({ root: { role, weights: names, shape } }) => (role === "weight" ? (options.formats?.({ names, shape }) ?? null) : null),
      choose(key, candidates) {
        const { variant, tuned } = choose(key, candidates, caps.tuning);
        own.push({ node, key, variant: variantLabel(variant), candidates: candidates.map(variantLabel), tuned });
        return variant;
      },
      layoutsOf: (weight) => [...(layouts.get(weightKey(weight, "natural")) ?? [])],
      scratch(shape, dtype) {
        const tensor = new Tensor(graph, graph.tensors.length + scratch.length, `${node.name}:scratch`, [...shape], dtype, "activation");
        scratch.push(tensor);
        return tensor;
      },
      constant(name, data, shape) {
        const tensor = new Tensor(
          graph,
          graph.tensors.length + scratch.length,
          `${node.name}:${name}`,
          shape,
          data instanceof Float32Array ? "f32" : "u32",
          "constant",
          undefined,
          [],
          data,
        );
        scratch.push(tensor);
        return tensor;
      },
    };
    const lowered = node.op.lower(node, target);
    for (const binding of lowered.flatMap(({ bindings }) => Object.values(bindings as Record<string, Tensor | View>))) {
      const { tensor, packing = "natural" } = viewOf(binding);
      if (tensor.root.role !== "weight" || packing === "natural") continue;
      const key = weightKey(tensor, "natural");
      layouts.set(key, (layouts.get(key) ?? new Set()).add(packing));
    }
    const chosen = howChosen(own);
    choices.push(...own);
    const { before, dispatches } = packOperands(lowered, target);
    // What packs an operand costs what it says, and the node's own dispatches what the op says.
    const shares = [...before.map((d) => d.cost!), ...shareCost(node.op.cost(node), dispatches)];
    for (const [i, dispatch] of [...before, ...dispatches].entries()) {
      const { grid } = dispatch;
      if (grid.some((n) => n > caps.maxGrid || n < 1 || !Number.isInteger(n))) {
        throw new CogwheelError(
          node.op.name,
          `a grid must be 1 to ${caps.maxGrid} workgroups a dimension, got [${grid.join(", ")}] in ${node.name}; fold it (foldGrid)`,
        );
      }
      steps.push({ node, dispatch, label: kernelLabel(dispatch.kernel, dispatch), cost: shares[i]!, chosen });
    }
  }

  const outputs = new Set([...graph.outputs.values()].map((t) => places.home(t).id));
  const lifetimes = new Map<number, { id: number; name: string; bytes: number; first: number; last: number }>();
  const conflicts: [number, number][] = [];
  const weights = new Map<string, WeightRequest>();
  const streamed = new Map<string, WeightRequest>();
  const asStored = new Map<string, { weight: WeightRequest; format: Format; bytes: number }>();
  /** Those of both. */
  const slotted = new Map<string, WeightRequest>();
  const uses = steps.map(() => new Set<string>());
  const constants = new Map<number, Tensor>();
  const written = new Set<number>();
  steps.forEach((step, at) => {
    const reads: number[] = [];
    const writes: number[] = [];
    for (const [name, info] of Object.entries(step.dispatch.kernel.bindings) as [string, BindingInfo][]) {
      const binding = step.dispatch.bindings[name];
      if (!binding)
        throw new CogwheelError(
          step.node.op.name,
          `every binding of ${step.dispatch.kernel.name} must be given, got none for "${name}"; bind it in lower()`,
        );
      const view = viewOf(binding);
      const { root } = view.tensor;
      const home = places.home(root);
      const packing = view.packing ?? "natural";
      const whole = root.role === "weight" ? packedBytes(view.tensor.shape, packing, root.dtype) : root.bytes;
      const bound = view.bytes ?? whole - (view.offset ?? 0);
      if (bound > caps.maxBindingBytes) {
        throw new CogwheelError(
          step.node.op.name,
          `a binding may have ${caps.maxBindingBytes} bytes on this adapter, ` +
            `got ${bound} for "${name}" (${view.tensor}) in ${step.node.name}; choose a smaller size, fewer frames or dtype f16`,
        );
      }
      if ((view.offset ?? 0) % caps.offsetAlignment !== 0) {
        throw new CogwheelError(
          step.node.op.name,
          `a view must start at a multiple of ${caps.offsetAlignment} bytes, got ${view.offset} for "${name}"; align the window`,
        );
      }
      if (root.role === "weight") {
        const key = weightKey(view.tensor, packing);
        if (!weights.has(key) && !slotted.has(key)) {
          const { weights: names, dtype } = root;
          const { shape } = view.tensor;
          const request: WeightRequest = { key, names, shape, packing, dtype, bytes: packedBytes(shape, packing, dtype) };
          if (options.stream?.(request)) streamed.set(key, request);
          else {
            const format = options.asStored?.(request) ?? null;
            if (format === null) weights.set(key, request);
            else asStored.set(key, { weight: request, format, bytes: storedBytes({ shape, format }) });
          }
          if (!weights.has(key)) slotted.set(key, request);
        }
        if (slotted.has(key)) uses[at]!.add(key);
      } else if (root.role === "constant") constants.set(root.id, root);
      if (info.access === "read_write") {
        if (root.role !== "activation")
          throw new CogwheelError(
            step.node.op.name,
            `only activations may be written, got ${root.role} ${root.name} in ${step.node.name}; write to an output`,
          );
        writes.push(home.id);
        written.add(root.id);
      } else {
        if (root.role === "activation" && !written.has(root.id))
          throw new CogwheelError(
            step.node.op.name,
            `a tensor must be written before it is read, got ${root.name} in ${step.node.name}; record its producer first`,
          );
        reads.push(home.id);
      }
      if (root.role === "activation" && home.role !== "state" && !outputs.has(home.id)) {
        const life = lifetimes.get(home.id);
        if (life) life.last = at;
        else lifetimes.set(home.id, { id: home.id, name: home.name, bytes: home.bytes, first: at, last: at });
      }
    }
    for (const r of reads)
      for (const w of writes) {
        if (r === w)
          throw new CogwheelError(
            step.node.op.name,
            `a dispatch may not read and write one tensor through two bindings, got ${step.node.name}; write to another tensor`,
          );
        if (lifetimes.has(r) && lifetimes.has(w)) conflicts.push([r, w]);
      }
  });
  for (const tensor of graph.outputs.values()) {
    if (tensor.root.role === "weight" || tensor.root.role === "constant" || tensor.root.role === "state")
      throw new CogwheelError(
        "graph",
        `an output must be computed by a node or be an input, got the ${tensor.root.role} ${tensor}; leave it out`,
      );
    if (tensor.root.role === "activation" && !written.has(tensor.root.id))
      throw new CogwheelError("graph", `an output must be computed by a node, got ${tensor}; record its producer`);
  }

  for (const value of graph.updates.values())
    if (!written.has(value.root.id))
      throw new CogwheelError("graph", `a state's value must be computed by a node, got ${value}; record its producer`);
  for (const { from } of places.copies) {
    const life = lifetimes.get(places.home(from).id);
    if (life) life.last = steps.length - 1;
  }

  const memory = planMemory([...lifetimes.values()], conflicts, caps.offsetAlignment, caps.maxBufferBytes);
  const slots = planSlots(slotted, uses, options.slots ?? 2, caps.offsetAlignment, caps.maxBufferBytes);
  const slotBytes = slots.buffers.reduce((a, b) => a + b, 0);
  // What is unpacked twice, in two layouts, is stored once.
  const stored = new Map([...asStored.values()].map(({ weight, bytes }) => [weight.names.join("+"), bytes]));
  const weightBytes = [...[...weights.values()].map(({ bytes }) => bytes), ...stored.values()].reduce((a, b) => a + b, 0);
  const activations = memory.arenas.reduce((a, b) => a + b, 0);
  const sum = (tensors: readonly Tensor[]): number => tensors.reduce((n, t) => n + t.bytes, 0);
  const own = [...graph.outputs.values()].filter((tensor) => places.home(tensor).role !== "state");
  const io = sum([...graph.inputs.values(), ...own, ...constants.values()]);
  const states = sum([...graph.states.values()]);
  const cost = steps.reduce((c, s) => ({ flops: c.flops + s.cost.flops, bytes: c.bytes + s.cost.bytes }), { flops: 0, bytes: 0 });
  return {
    graph,
    caps,
    options,
    steps,
    choices,
    memory,
    home: places.home,
    copies: places.copies,
    weights,
    asStored,
    streamed,
    slots,
    cost,
    constants: [...constants.values()],
    bytes: {
      weights: weightBytes,
      slots: slotBytes,
      streamed: slots.uploads.reduce((n, { weight }) => n + (streamed.has(weight.key) ? weight.bytes : 0), 0),
      activations,
      io,
      states,
      lowerBound: memory.lowerBound,
      total: weightBytes + slotBytes + activations + io + states,
    },
  };
}
