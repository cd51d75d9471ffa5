/**
 * Takes steps of an optimizer, whatever model they are of: the graphs of a step's micro-steps and of its update run one after the other.
 * What a step depends on (rate, corrections, the loss's scale) is written before each run, so nothing else is compiled.
 */
import { CogwheelError } from "../base/errors.ts";
import type { Graph } from "../graph/graph.ts";
import { UPDATE } from "../ops/gradient_norm.ts";
import type { Program } from "../run/program.ts";
import type { States } from "../run/states.ts";
import { firstLossScale, type LossScaleState, nextLossScale } from "./loss-scale.ts";
import { emaDecay, type Optimizer, updateSettings } from "./optimizer.ts";
import type { Programs } from "./programs.ts";
import { type RecordedMicro, updateGraph, updatePieces, withSums, withUpdate } from "./step-graphs.ts";
import { isMean } from "./update.ts";

export interface StepperOptions {
  /** What tells its update from another's among the same programs. Default: nothing, for there is one. */
  readonly name?: string;
  readonly optimizer: Optimizer;
  /** Gradients above this norm are scaled down to it. Default: none are. */
  readonly maxGradNorm?: number | undefined;
  /** Keeps a moving average of the parameters. */
  readonly ema?: { readonly decay: number } | undefined;
  /** Micro-steps of a step, whose gradients are added up. Default 1. */
  readonly accumulation?: number | undefined;
  /** Storage type of activations: in f16 the loss is scaled. */
  readonly dtype: "f32" | "f16";
  /** Do means lie in the host's memory between updates, which bring and take them piece by piece? Default false. */
  readonly offload?: boolean | undefined;
}

/** A micro-step of one graph, as a stepper sees it. */
export interface StepperMicro {
  /** What tells its graph from others. */
  readonly key: string;
  record(): RecordedMicro;
  /** @param lossScale the factor of the loss that is differentiated @param graph what was recorded */
  inputs(lossScale: number, graph: Graph): Record<string, Float32Array | Uint32Array>;
  /** Values that the loss is a mean of. */
  readonly values: number;
}

/** A micro-step of many runs, which adds up its gradients itself, in the states `gradient:NAME`. */
export interface StepperPasses {
  /** @param begun are there gradients that its own are added to? */
  run(lossScale: number, begun: boolean): Promise<{ readonly outputs: Record<string, Float32Array>; readonly flops: number }>;
  /** The states that hold them, beside the run's, and a graph that has them all. */
  readonly sums: { readonly states: States; readonly like: Graph };
  readonly values: number;
}

export interface TakenStep {
  /** Of each micro-step, all outputs of its graph. */
  readonly outputs: readonly Readonly<Record<string, Float32Array>>[];
  /** Of all gradients, before they were clipped. */
  readonly gradNorm: number;
  /** False where gradients were not finite: nothing has changed then. */
  readonly taken: boolean;
  readonly lossScale: number;
  /** Operations of the step, as planned. */
  readonly flops: number;
}

/** What the next step depends on besides the states. */
export interface StepperProgress {
  /** Updates that were made. */
  readonly updates: number;
  /** Undefined before the first step. */
  readonly lossScale?: LossScaleState | undefined;
}

export class Stepper {
  #updates = 0;
  /** Begins with the first step. */
  #lossScale: LossScaleState | undefined;
  #pieces: readonly [Graph, ...Graph[]] | undefined;

  constructor(
    private readonly programs: Programs,
    private readonly options: StepperOptions,
  ) {
    const { accumulation = 1, maxGradNorm, ema } = options;
    if (!Number.isInteger(accumulation) || accumulation < 1)
      throw new CogwheelError("training", `accumulation must be a whole number of micro-steps from 1, got ${accumulation}`);
    if (maxGradNorm !== undefined && !(maxGradNorm > 0))
      throw new CogwheelError("training", `maxGradNorm must be a number above 0, got ${maxGradNorm}; leave it out for no clipping`);
    if (ema && !(ema.decay >= 0 && ema.decay < 1))
      throw new CogwheelError("training", `the average's decay must be from 0 to below 1, got ${ema.decay}; 0.9999 is usual`);
  }

  get progress(): StepperProgress {
    return { updates: this.#updates, lossScale: this.#lossScale };
  }

  /** Goes on from what another stepper of the same options had come to; its states are written by the caller. */
  set progress({ updates, lossScale }: StepperProgress) {
    this.#updates = updates;
    this.#lossScale = lossScale;
  }

  /**
   * The graphs that have all states of steps on such a micro-step. `apart`: is the update a graph by itself, or several? Default: where
   * there are several micro-steps, or means lie in the host's memory.
   */
  static graphsOf(
    micro: RecordedMicro,
    options: Pick<StepperOptions, "optimizer" | "ema" | "accumulation" | "offload">,
    { apart = (options.accumulation ?? 1) > 1 || options.offload === true }: { apart?: boolean } = {},
  ): [Graph, ...Graph[]] {
    const update = { optimizer: options.optimizer, average: options.ema !== undefined };
    if (!apart) return [withUpdate(micro, update)];
    const graph = withSums(micro);
    return [graph, ...(options.offload ? updatePieces(update, graph) : [updateGraph(update, graph)])];
  }

  /**
   * One step: as many micro-steps as are added up, in their order. Nothing ends it on the way, for it may have changed states by then.
   * @param lr its learning rate
   */
  async step(micros: readonly (StepperMicro | StepperPasses)[], lr: number): Promise<TakenStep> {
    const { accumulation = 1, maxGradNorm = Infinity, ema, optimizer, dtype, name = "", offload = false } = this.options;
    if (micros.length !== accumulation)
      throw new CogwheelError("training", `a step takes ${accumulation} batches, got ${micros.length}; give one for each micro-step`);
    this.#lossScale ??= firstLossScale(
      dtype,
      micros.reduce((n, { values }) => n + values, 0),
    );
    const { scale } = this.#lossScale;
    const update = updateSettings(optimizer, {
      update: this.#updates,
      lr,
      maxNorm: maxGradNorm,
      lossScale: scale,
      emaDecay: ema ? emaDecay(ema.decay, this.#updates) : 0,
    });
    const kinds = { optimizer, average: ema !== undefined };
    const read = async (program: Program, key: string): Promise<Record<string, Float32Array>> => {
      const names = [...this.programs.plan(key).graph.outputs.keys()].filter((name) => name !== "control");
      return Object.fromEntries(await Promise.all(names.map(async (name) => [name, (await program.read(name)) as Float32Array] as const)));
    };
    const parts: Promise<Record<string, Float32Array>>[] = [];
    let flops = 0;
    const planned = (key: string): Graph => {
      const plan = this.programs.plan(key);
      flops += plan.cost.flops;
      return plan.graph;
    };
    const [first] = micros as readonly [StepperMicro | StepperPasses];
    let last: Program;
    let said: Promise<Float32Array> | undefined;
    if (accumulation === 1 && !offload && "record" in first) {
      last = await this.programs.get(first.key, () => withUpdate(first.record(), kinds));
      await last.run({ inputs: { ...first.inputs(scale, planned(first.key)), update } });
      parts.push(read(last, first.key));
    } else {
      for (const [i, micro] of micros.entries()) {
        if (!("record" in micro)) {
          const passed = await micro.run(scale, i > 0);
          flops += passed.flops;
          parts.push(Promise.resolve(passed.outputs));
          continue;
        }
        const program = await this.programs.get(micro.key, () => withSums(micro.record()));
        const inputs = micro.inputs(scale, planned(micro.key));
        await program.run({ inputs: { ...inputs, begun: Float32Array.of(Math.min(i, 1), 0, 0, 0) } });
        // The copy is queued before the next micro-step writes there.
        parts.push(read(program, micro.key));
      }
      const of = `update${name}`;
      const sums = micros.flatMap((micro) => ("sums" in micro ? [micro.sums] : []))[0];
      const like = (): Graph => sums?.like ?? this.programs.plan((first as StepperMicro).key).graph;
      const pieces = offload ? (this.#pieces ??= updatePieces(kinds, like())) : undefined;
      last = await this.programs.get(of, () => pieces?.[0] ?? updateGraph(kinds, like()), sums?.states);
      planned(of);
      await last.run({ inputs: { update } });
      if (pieces) {
        const control = await last.read("control");
        flops += await this.#updateByPieces(of, pieces.slice(1), control, sums?.states);
        said = Promise.resolve(control);
      }
    }
    said ??= last.read("control");
    const [control, ...found] = (await Promise.all([said, ...parts])) as [Float32Array, ...Record<string, Float32Array>[]];
    const taken = control[UPDATE.taken] === 1;
    this.#lossScale = nextLossScale(this.#lossScale, dtype, taken, control[UPDATE.notFinite]!);
    if (taken) this.#updates++;
    return {
      outputs: found,
      gradNorm: control[UPDATE.norm]!,
      taken,
      lossScale: scale,
      flops,
    };
  }

  /** Brings the means of some parameters, takes their steps and puts them aside again, piece after piece. @returns operations, as planned */
  async #updateByPieces(of: string, pieces: readonly Graph[], control: Float32Array, states = this.programs.states): Promise<number> {
    // Nothing would change.
    if (control[UPDATE.taken] !== 1) return 0;
    let flops = 0;
    for (const [i, graph] of pieces.entries()) {
      const means = [...graph.states.keys()].filter(isMean);
      this.programs.states.bring(means);
      const program = await this.programs.get(`${of} pieces ${i}`, () => graph, states);
      flops += program.plan.cost.flops;
      await program.run({ inputs: { control } });
      this.programs.drop(`${of} pieces`);
      await this.programs.states.putAside(means);
    }
    return flops;
  }
}
