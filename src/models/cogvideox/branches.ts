/**
 * The branches of guidance computed by themselves: a run of the transformer for each, then the scheduler's step from both predictions. One
 * device computes one after the other, or two devices share them and exchange a prediction a step, and get the same bytes.
 */
import type { Gpu } from "../../gpu/gpu.ts";
import { Graph } from "../../graph/graph.ts";
import { schedulerStep } from "../../ops/scheduler_step.ts";
import { compile } from "../../plan/compile.ts";
import { Program, type RunOptions } from "../../run/program.ts";
import type { WeightStore } from "../../run/weight-store.ts";
import type { DenoiseState } from "./denoise-state.ts";

/** The branches, in the order of the prompts' embeddings. */
export type Branch = 0 | 1;

/** Another device that computes one of the branches. */
export interface Partner {
  /**
   * Asked before each step: the branch that this device computes of it (0 the negative prompt's, 1 the prompt's), or undefined where it
   * computes both.
   * @param state what the step begins from
   */
  branch(step: number, state: DenoiseState): Promise<Branch | undefined>;
  /**
   * Gives the other this device's prediction [n, F, C, H, W] and resolves to the other's; to undefined where there is none to be had any
   * more, and this device computes that branch too.
   */
  exchange(step: number, own: Float32Array): Promise<Float32Array | undefined>;
  /** Called when everything is loaded: what the run begins from after all, as the other may be further by now. Default: as it was asked for. */
  join?(): Promise<DenoiseState | undefined>;
}

/** The scheduler's step by itself. @param shape of the latents [n, F, C, H, W] */
export function guidanceStepGraph(shape: readonly number[], stochastic: boolean): Graph {
  const graph = new Graph("guidance_step");
  const [samples, ...rest] = shape as [number, ...number[]];
  const next = schedulerStep({
    sample: graph.input("sample", [...shape]),
    prediction: graph.input("prediction", [2 * samples, ...rest]),
    coefficients: graph.input("coefficients", [8]),
    ...(stochastic ? { oldSample: graph.input("old", [...shape]), noise: graph.input("noise", [...shape]) } : {}),
  });
  graph.output("latents", next.sample);
  if (stochastic) graph.output("original", next.original);
  return graph;
}

/** What a step is taken from, and the steps' inputs beside it. */
export interface SeparateStep {
  readonly state: DenoiseState;
  /** [2n, T, E] */
  readonly text: Float32Array;
  /** `timestep`, `coefficients` and, where it is drawn, `noise`. */
  readonly inputs: Readonly<Record<string, Float32Array>>;
  readonly partner: Partner | undefined;
  /** Runs the transformer and resolves to its prediction. @param last whether nothing follows in this step */
  predict(inputs: Record<string, Float32Array>, last: boolean): Promise<Float32Array>;
}

/** The steps of branches that are runs of their own. */
export class SeparateBranches implements Disposable {
  private constructor(private readonly program: Program) {}

  /** @param weights of the transformer; the step itself has none */
  static async create(gpu: Gpu, shape: readonly number[], stochastic: boolean, weights: WeightStore): Promise<SeparateBranches> {
    return new SeparateBranches(await Program.create(gpu, compile(guidanceStepGraph(shape, stochastic), gpu.caps), weights));
  }

  async step(
    { state, text, inputs, partner, predict }: SeparateStep,
    run: RunOptions,
  ): Promise<{ latents: Float32Array; original: Float32Array | undefined }> {
    const { step, latents, original } = state;
    const { timestep, ...others } = inputs as Record<"timestep", Float32Array>;
    const prediction = new Float32Array(2 * latents.length);
    const mine = await partner?.branch(step, state);
    const compute = async (branch: Branch): Promise<Float32Array> => {
      const half = text.length / 2;
      const values = await predict(
        { latents, timestep, text: text.subarray(branch * half, (branch + 1) * half) },
        branch !== 0 || mine === 0,
      );
      prediction.set(values, branch * latents.length);
      return values;
    };
    if (mine === undefined) for (const branch of [0, 1] as const) await compute(branch);
    else {
      const other = mine === 0 ? 1 : 0;
      const theirs = await partner!.exchange(step, await compute(mine));
      if (theirs) prediction.set(theirs, other * latents.length);
      else await compute(other);
    }
    await this.program.run({ ...run, inputs: { ...others, sample: latents, prediction, ...(original ? { old: original } : {}) } });
    return {
      latents: await this.program.read("latents", run.signal),
      original: original && (await this.program.read("original", run.signal)),
    };
  }

  [Symbol.dispose](): void {
    this.program[Symbol.dispose]();
  }
}
