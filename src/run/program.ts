/**
 * A compiled graph on a GPU: pipelines, memory and bind groups are made once; a run only encodes.
 */
import { CogwheelError } from "../base/errors.ts";
import { f16Values } from "../base/half.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Pipeline } from "../gpu/pipelines.ts";
import type { Profile } from "../gpu/profile.ts";
import { weightKey, type Plan } from "../plan/compile.ts";
import type { DType } from "../graph/dtype.ts";
import type { Graph } from "../graph/graph.ts";
import type { Node, View } from "../graph/op.ts";
import type { Tensor } from "../graph/tensor.ts";
import { viewOf } from "../plan/dispatch.ts";
import type { Arenas } from "./arenas.ts";
import { Exchange, type ExchangeOptions } from "./exchange.ts";
import { FiniteChecks } from "./finite-checks.ts";
import { States } from "./states.ts";
import { bindSteps, encodeStep, sized, type Step, type StepSource } from "./steps.ts";
import { Streamer } from "./streamer.ts";
import type { LoadOptions, WeightStore } from "./weight-store.ts";

/** What goes into a run of a program, and what is read of it. */
export interface RunOptions extends ExchangeOptions {
  /** New contents of inputs; those not named keep what they had. f16 as raw bits. */
  inputs?: Record<string, ArrayBufferView>;
  signal?: AbortSignal;
  /** Collects GPU time by dispatch. */
  profile?: Profile;
  /** Looks at every node's outputs, or those of some nodes, and throws, naming the first that holds a NaN or an infinity. */
  checkFinite?: boolean | ((node: Node, graph: Graph) => boolean);
  /**
   * Is shown every node as soon as it is computed, before its memory is used again; `read`
   * gives one of its outputs, f16 widened to f32.
   */
  observe?: (node: Node, read: (output: string) => Promise<Float32Array>) => void | Promise<void>;
  /** Share of the run's work that is done, 0 to 1. */
  onProgress?: (done: number) => void;
  /** The program that runs next, this one again or another: the streamed weights that it begins with come while this run ends. */
  next?: Program;
  /** Seconds without an answer after which the source of a streamed weight counts as stalled, and the run throws. Default 120. */
  stallSeconds?: number;
}

/** What a program shares with others, and how its weights are loaded. */
export interface ProgramOptions extends LoadOptions {
  /** Buffers of other programs in place of inputs of the same name: their outputs are read where they lie. */
  bind?: Record<string, GPUBuffer>;
  /** Tensors that live from run to run, shared with programs of the same names; they stay their owner's. */
  states?: States;
  /** Memory for activations, shared with programs that run before or after this one; it stays its owner's. */
  arenas?: Arenas;
  /** Memory for streamed weights, and what brings them, shared with programs that run before or after this one; it stays its owner's. */
  streamer?: Streamer;
}

/** Milliseconds of predicted GPU work in one submit: browsers reset a device that is busy for seconds. */
const SUBMIT_MS = 100;
const SUBMIT_DISPATCHES = 64;
/**
 * The same, and milliseconds of work that are under way, where weights are streamed: a mapped buffer is free again when all that was
 * submitted before its copy is done. The uploader has 48 MB of them: 1 GB/s at 50 ms a turn, 0.2 at the 250 ms of other runs.
 */
const STREAMED = { submitMs: 25, mostMs: 50 };

/** A plan on a device: its pipelines, memory and bind groups are made once, then it is run as often as one likes. */
export class Program implements Disposable {
  readonly #owned: Disposable[] = [];
  readonly #buffers = new Map<number, GPUBuffer>();
  readonly #arenas: GPUBuffer[] = [];
  /** Where some weights are streamed. */
  #streamer: Streamer | undefined;
  #steps: Step[] = [];
  #disposed = false;
  /** By the nodes that are looked at. */
  readonly #finite = new Map<string, FiniteChecks<Step>>();

  private constructor(
    readonly gpu: Gpu,
    readonly plan: Plan,
    readonly weights: WeightStore,
  ) {}

  /** Compiles all pipelines in parallel while the weights load, then binds everything. */
  static async create(gpu: Gpu, plan: Plan, weights: WeightStore, options: ProgramOptions = {}): Promise<Program> {
    const program = new Program(gpu, plan, weights);
    try {
      await gpu.scoped(`preparing ${plan.graph.name}`, async () => {
        const { signal, onProgress } = options;
        // Pipelines count as much as weights: either may be what takes the time.
        const share = { weights: 0, pipelines: 0 };
        const report = () => onProgress?.((share.weights + share.pipelines) / 2, 1);
        const wanted = plan.steps.map((s) => gpu.pipelines.get(s.dispatch.kernel, s.dispatch));
        const different = new Set(wanted);
        for (const pipeline of different)
          pipeline.then(
            () => {
              share.pipelines += 1 / different.size;
              report();
            },
            () => undefined,
          );
        const compiling = Promise.all(wanted);
        compiling.catch(() => undefined);
        const what = `preparing ${plan.graph.name}`;
        const blocks = [...plan.asStored.values()].reduce((n, { bytes }) => n + bytes, 0) / Math.max(1, plan.bytes.weights);
        const load = (from: number, part: number) => ({
          what,
          ...(signal ? { signal } : {}),
          onProgress: (done: number, total: number) => {
            share.weights = from + (part * done) / total;
            report();
          },
        });
        await weights.load(plan.weights.values(), load(0, 1 - blocks));
        if (plan.asStored.size) await weights.blocks.load(plan.asStored.values(), load(1 - blocks, blocks));
        share.weights = 1;
        program.#allocate(options);
        // The first weights may come while pipelines compile.
        program.#streamer?.expect(plan);
        program.#bind(await compiling);
      });
      return program;
    } catch (error) {
      program[Symbol.dispose]();
      throw error;
    }
  }

  #allocate({ bind: bound = {}, arenas, states, streamer }: ProgramOptions): void {
    const { graph, memory, constants, home } = this.plan;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const own = (label: string, bytes: number, data?: ArrayBufferView): GPUBuffer => {
      const owned = this.gpu.buffer(`${graph.name}.${label}`, bytes, usage, data);
      this.#owned.push(owned);
      return owned.buffer;
    };
    if (this.plan.slots.uploads.length) {
      this.#streamer = streamer ?? new Streamer(this.gpu, this.weights, [this.plan]);
      if (!streamer) this.#owned.push(this.#streamer);
    }
    for (const [i, bytes] of memory.arenas.entries()) this.#arenas.push(arenas?.buffer(i) ?? own(`arena${i}`, bytes));
    for (const [name, tensor] of graph.inputs) {
      const given = bound[name];
      if (given && given.size < tensor.bytes)
        throw new CogwheelError(
          "graph",
          `a bound buffer must hold the input, got ${given.size} bytes for "${name}" (${tensor}); bind the matching output`,
        );
      this.#buffers.set(tensor.id, given ?? own(name, tensor.bytes));
    }
    for (const name of Object.keys(bound))
      if (!graph.inputs.has(name))
        throw new CogwheelError(
          "graph",
          `buffers are bound to inputs by name, got "${name}"; inputs are ${[...graph.inputs.keys()].join(", ")}`,
        );
    if (graph.states.size) {
      const held = states ?? new States(this.gpu, [this.plan]);
      if (!states) this.#owned.push(held);
      for (const tensor of graph.states.values()) this.#buffers.set(tensor.id, held.bufferOf(tensor));
    }
    for (const [name, tensor] of graph.outputs)
      if (tensor.root.role === "activation" && !this.#buffers.has(home(tensor).id))
        this.#buffers.set(home(tensor).id, own(name, tensor.bytes));
    for (const tensor of constants) this.#buffers.set(tensor.id, own(tensor.name, tensor.bytes, tensor.data));
  }

  /** @param step the one that reads it: where a streamed weight lies depends on it */
  #resource(view: View, step = -1): GPUBufferBinding {
    const { root } = view.tensor;
    const offset = view.offset ?? 0;
    if (root.role === "weight") {
      const key = weightKey(view.tensor, view.packing ?? "natural");
      const streamed = this.plan.streamed.get(key) ?? this.plan.asStored.get(key)?.weight;
      if (!streamed) return sized(this.weights.get(key), offset, view.bytes);
      const place = this.plan.slots.at(step, key);
      return sized(this.#streamer!.buffer(place.buffer), place.offset + offset, view.bytes ?? streamed.bytes - offset);
    }
    const home = this.plan.home(root);
    const placed = this.plan.memory.placements.get(home.id);
    if (placed) return sized(this.#arenas[placed.arena]!, placed.offset + offset, view.bytes ?? root.bytes - offset);
    return sized(this.#buffers.get(home.id)!, offset, view.bytes ?? root.bytes - offset);
  }

  #bind(pipelines: readonly Pipeline[]): void {
    const sources = this.plan.steps.map(({ dispatch: { bindings, params, grid } }, index) => {
      const resources = Object.fromEntries(
        Object.entries(bindings).map(([name, b]) => [name, this.#resource(viewOf(b as Tensor | View), index)]),
      );
      return { pipeline: pipelines[index]!, resources, params, grid, index };
    });
    this.#steps = this.#bound(sources);
  }

  #bound(sources: readonly StepSource[]): Step[] {
    const { steps, uniforms } = bindSteps(this.gpu, this.plan.graph.name, sources);
    if (uniforms) this.#owned.push(uniforms);
    return steps;
  }

  #assertAlive(): void {
    if (this.#disposed)
      throw new CogwheelError("graph", `a program cannot be used after dispose, got ${this.plan.graph.name}; compile it again`);
    this.gpu.assertAlive();
  }

  /** The buffer behind an input, an output or a state, to bind to another program or to draw from. */
  buffer(name: string): GPUBuffer {
    this.#assertAlive();
    return this.#buffers.get(this.plan.home(this.#io(name)).id)!;
  }

  #io(name: string): Tensor {
    const { graph } = this.plan;
    const tensor = graph.outputs.get(name) ?? graph.inputs.get(name) ?? graph.states.get(name);
    if (!tensor)
      throw new CogwheelError(
        "graph",
        `${graph.name} has no input or output "${name}"; ` +
          `it has ${[...graph.inputs.keys(), ...graph.outputs.keys(), ...graph.states.keys()].join(", ")}`,
      );
    return tensor;
  }

  /** New contents of an input or a state; f16 as raw bits. */
  write(name: string, data: ArrayBufferView): void {
    this.#assertAlive();
    const { graph } = this.plan;
    const tensor = graph.inputs.get(name) ?? graph.states.get(name);
    if (!tensor)
      throw new CogwheelError(
        "graph",
        `${graph.name} has no input "${name}"; its inputs are ${[...graph.inputs.keys(), ...graph.states.keys()].join(", ")}`,
      );
    if (data.byteLength !== tensor.bytes)
      throw new CogwheelError("graph", `input "${name}" takes ${tensor.bytes} bytes (${tensor}), got ${data.byteLength}; check its shape`);
    const padded =
      data.byteLength % 4 === 0
        ? data
        : (() => {
            const p = new Uint8Array(Math.ceil(data.byteLength / 4) * 4);
            p.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
            return p;
          })();
    this.gpu.device.queue.writeBuffer(this.#buffers.get(tensor.id)!, 0, padded.buffer as ArrayBuffer, padded.byteOffset, padded.byteLength);
  }

  /** An output's, input's or state's values; f16 is widened to f32. */
  async read(name: string, signal?: AbortSignal): Promise<Float32Array> {
    this.#assertAlive();
    const tensor = this.#io(name);
    return widen(await this.gpu.read(this.buffer(name), 0, tensor.bytes, signal), tensor.dtype);
  }

  /** Encodes every dispatch of a run, in order, into a pass of the caller's. Not for plans that copy states, which no pass can. */
  encode(pass: GPUComputePassEncoder): void {
    this.#assertAlive();
    const [copy] = this.plan.copies;
    if (copy)
      throw new CogwheelError(
        "graph",
        `a pass takes dispatches only, got a copy of ${copy.from} into the state ${copy.to.name} of ${this.plan.graph.name}; use run`,
      );
    if (this.#streamer)
      throw new CogwheelError(
        "graph",
        `a pass takes dispatches only, got streamed weights in ${this.plan.graph.name}; use run, or keep them resident`,
      );
    let before: Step | undefined;
    for (const step of this.#steps) {
      encodeStep(pass, step, before);
      before = step;
    }
  }

  async run(options: RunOptions = {}): Promise<void> {
    this.#assertAlive();
    const streamer = this.#streamer;
    streamer?.begin(this.plan, options.profile);
    try {
      await this.#run(options, streamer);
      await streamer?.judge(options.signal);
    } finally {
      streamer?.end();
    }
  }

  async #run(options: RunOptions, streamer: Streamer | undefined): Promise<void> {
    const { next } = options;
    if (next) next.#streamer?.expect(next.plan);
    for (const [name, data] of Object.entries(options.inputs ?? {})) this.write(name, data);
    const { device } = this.gpu;
    const finite = options.checkFinite ? await this.#finiteChecks(options.checkFinite) : undefined;
    finite?.begin();
    const exchange = options.later || options.taken ? new Exchange(this.plan, options) : undefined;

    const { steps } = this.plan;
    const pace = this.gpu.pace;
    const streams = this.plan.streamed.size > 0;
    const submitMs = streams ? STREAMED.submitMs : SUBMIT_MS;
    const totalFlops = Math.max(1, this.plan.cost.flops);
    let done = 0;
    let at = 0;
    while (at < this.#steps.length) {
      options.signal?.throwIfAborted();
      await streamer?.arrival(at, options);
      await exchange?.bring(at, (name, data) => this.write(name, data));
      const encoder = device.createCommandEncoder();
      let flops = 0;
      const from = at;
      let before: Step | undefined;
      if (options.profile) options.profile.begin(encoder);
      let pass = options.profile ? undefined : encoder.beginComputePass();
      const ended = () => at > from && steps[at - 1]!.node !== steps[at]?.node;
      const full = () =>
        at - from >= SUBMIT_DISPATCHES ||
        pace.predict(flops) >= submitMs ||
        (options.observe !== undefined && ended()) ||
        streamer?.ready(at) === false ||
        (at > from && exchange?.parts(at) === true);
      for (; at < this.#steps.length && !full(); at++) {
        const step = this.#steps[at]!;
        if (options.profile) {
          pass = options.profile.pass(encoder, {
            label: step.pipeline.label,
            node: steps[at]!.node.name,
            chosen: steps[at]!.chosen,
            ...steps[at]!.cost,
          });
          encodeStep(pass, step);
          pass.end();
        } else encodeStep(pass!, step, before);
        before = step;
        flops += steps[at]!.cost.flops;
        const checks = finite && steps[at + 1]?.node !== steps[at]!.node ? finite.after(steps[at]!.node) : undefined;
        if (checks) {
          if (options.profile) pass = encoder.beginComputePass();
          for (const check of checks) encodeStep(pass!, check);
          before = undefined;
          if (options.profile) pass!.end();
        }
      }
      if (!options.profile) pass!.end();
      if (at === this.#steps.length) this.#encodeCopies(encoder);
      options.profile?.end(encoder);
      device.queue.submit([encoder.finish()]);
      streamer?.submitted(at);
      exchange?.take(at, (tensor) => this.#readNow(tensor, options.signal));
      const submitted = performance.now();
      if (options.profile) {
        await options.profile.collect();
        const name = `steps ${from} to ${at - 1}`;
        if (streamer) options.profile.host.push({ kind: "submit", name, begin: submitted, end: performance.now(), bytes: 0 });
      }
      done += flops;
      await pace.submitted(flops, options.signal, streams ? STREAMED.mostMs : undefined);
      if (options.observe && ended()) await this.#show(steps[at - 1]!.node, options.observe, options.signal);
      options.onProgress?.(Math.min(1, done / totalFlops));
    }
    await exchange?.settled();
    await finite?.report();
  }

  /** Made once for the same nodes, whatever function names them. */
  async #finiteChecks(which: true | ((node: Node, graph: Graph) => boolean)): Promise<FiniteChecks<Step>> {
    const nodes = [...new Set(this.plan.steps.map((s) => s.node))];
    const wanted = which === true ? nodes : nodes.filter((node) => which(node, this.plan.graph));
    const key = wanted.map(({ id }) => id).join();
    const found = this.#finite.get(key);
    if (found) return found;
    const made = await FiniteChecks.create(
      this.gpu,
      this.plan.graph.name,
      wanted,
      wanted.length === nodes.length,
      (view) => this.#resource(view),
      (pipelines, dispatches) =>
        this.#bound(dispatches.map(({ resources, params, grid }, i) => ({ pipeline: pipelines[i]!, resources, params, grid, index: -1 }))),
    );
    this.#owned.push(made.flags);
    this.#finite.set(key, made);
    return made;
  }

  async #show(node: Node, observe: NonNullable<RunOptions["observe"]>, signal?: AbortSignal): Promise<void> {
    await observe(node, async (name) => {
      const tensor = (node.outputs as Record<string, Tensor>)[name];
      if (!tensor) throw new CogwheelError("graph", `${node.name} has no output "${name}"; it has ${Object.keys(node.outputs).join(", ")}`);
      return widen(await this.#readNow(tensor, signal), tensor.dtype);
    });
  }

  /** What a tensor holds after all that was submitted. */
  #readNow(tensor: Tensor, signal?: AbortSignal): Promise<ArrayBuffer> {
    const { buffer, offset = 0 } = this.#resource({ tensor });
    return this.gpu.read(buffer, offset, tensor.bytes, signal);
  }

  /** States that are not computed where they lie. */
  #encodeCopies(encoder: GPUCommandEncoder): void {
    for (const { from, to } of this.plan.copies) {
      const { buffer, offset = 0 } = this.#resource({ tensor: from });
      encoder.copyBufferToBuffer(buffer, offset, this.#buffers.get(to.id)!, 0, Math.ceil(to.bytes / 4) * 4);
    }
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const owned of this.#owned) owned[Symbol.dispose]();
    this.#steps = [];
    this.#buffers.clear();
  }
}

/** What a buffer of such elements holds; f16 as the numbers that it stands for. */
export function widen(data: ArrayBuffer, dtype: DType): Float32Array {
  if (dtype === "f32") return new Float32Array(data);
  if (dtype !== "f16") return Float32Array.from(dtype === "u32" ? new Uint32Array(data) : new Int32Array(data));
  const values = f16Values();
  const halves = new Uint16Array(data);
  const out = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) out[i] = values[halves[i]!]!;
  return out;
}
