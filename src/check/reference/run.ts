/** Runs a reference case on the engine and judges every output. */
import { CogwheelError } from "../../base/errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { caseWeights } from "./case.ts";
import { compareSteps, compareTensors, describe, thresholdFor, worstOf, type Comparison } from "./compare.ts";
import { compareGradients } from "./gradients.ts";
import type { ReferenceModule } from "./module.ts";
import type { HostTensor, ReferenceCase } from "./reference-case.ts";
import { attentionModules } from "./modules/attention.ts";
import { basicModules } from "./modules/basic.ts";
import { blockModules } from "./modules/block.ts";
import { dequantizeModules, roundedToF16 } from "./modules/dequantize.ts";
import { lossModules } from "./modules/losses.ts";
import { pipelineModules } from "./modules/pipeline.ts";
import { schedulerModules } from "./modules/scheduler.ts";
import { t5Modules } from "./modules/t5.ts";
import { trainingModules } from "./modules/training.ts";
import { transNetModules } from "./modules/transnet.ts";
import { transformerModules } from "./modules/transformer.ts";
import { vaeModules } from "./modules/vae.ts";
import { vaeTrainingModules } from "./modules/vae-training.ts";
import { compareTraining, isTraining } from "./training.ts";
import { Tracer, type Trace } from "./trace/tracer.ts";

/** Modules of the format that the engine runs, by name. */
export const referenceModules: Readonly<Record<string, ReferenceModule>> = {
  ...attentionModules,
  ...basicModules,
  ...blockModules,
  ...dequantizeModules,
  ...lossModules,
  ...schedulerModules,
  ...t5Modules,
  ...trainingModules,
  ...transNetModules,
  ...transformerModules,
  ...pipelineModules,
  ...vaeModules,
  ...vaeTrainingModules,
};

/** `unsupported`: the engine has no such module; `cannot be run`: the case or the engine threw. */
export type CaseVerdict = "pass" | "fail" | "unsupported" | "cannot be run";

/** What a reference case came to. */
export interface CaseResult {
  readonly name: string;
  /** Null when the file could not be read that far. */
  readonly module: string | null;
  readonly verdict: CaseVerdict;
  /**
   * One for each of the case's outputs and then of its gradients (`grad.…`), and for a pipeline with recorded steps the worst of the steps
   * that were begun from the reference's state.
   */
  readonly outputs: readonly Comparison[];
  /** Of a pipeline with recorded steps: each step, begun from the reference's state. */
  readonly steps?: readonly StepComparison[];
  /** If it was asked for. */
  readonly trace?: Trace;
  /** Why there are no outputs. */
  readonly error?: string;
}

export interface StepComparison extends Comparison {
  /** From 1. */
  readonly step: number;
}

export interface RunCaseOptions {
  /** Storage type of weights and activations. Default f32. */
  dtype?: "f32" | "f16";
  /** Name the first node that makes a NaN or an infinity. */
  checkFinite?: boolean;
  /** Takes what the engine gave for each of the case's outputs. */
  onOutput?: (name: string, got: HostTensor) => void;
  /** Hold every node against what the reference's submodules gave, for a case that was read with its trace. */
  trace?: boolean;
}

export async function runCase(
  gpu: Gpu,
  c: ReferenceCase,
  { dtype = "f32", checkFinite = false, trace = false, onOutput }: RunCaseOptions = {},
): Promise<CaseResult> {
  const base = { name: c.name, module: c.module };
  const module = Object.hasOwn(referenceModules, c.module) ? referenceModules[c.module]! : undefined;
  if (!module)
    return {
      ...base,
      verdict: "unsupported",
      outputs: [],
      error: `module ${c.module} is not supported; supported are ${Object.keys(referenceModules).sort().join(", ")}`,
    };
  try {
    const count = c.options["num_inference_steps"];
    const limit = (output: string, integer = false) =>
      thresholdFor(c.module, output, dtype, { integer, ...(typeof count === "number" ? { steps: count } : {}) });
    const tracer = trace && c.trace.size > 0 ? new Tracer(c, limit("trace")) : undefined;
    const got = await gpu.scoped(c.name, () =>
      module(c, {
        gpu,
        dtype,
        checkFinite,
        weights: (prefix) => caseWeights(c, dtype, prefix),
        follow: (guide) => (tracer ? { observe: tracer.follow(guide) } : {}),
      }),
    );
    for (const name of c.outputs.keys()) if (onOutput && got[name]) onOutput(name, got[name]);
    if (c.gradients.size > 0 && !Object.keys(got).some((name) => name.startsWith("grad.")))
      throw new CogwheelError("reference", `${c.name}: a case of ${c.module} has no gradients, got some; leave out cotangent.… and grad.…`);
    // A stored weight is not near to the reference's, it is the same, or what f16 has for it.
    const wanted = (want: HostTensor) => (c.module === "dequantize" && dtype === "f16" ? roundedToF16(want) : want);
    const outputs = isTraining(c.module)
      ? compareTraining(c, got, dtype)
      : [...c.outputs].map(([name, want]) => compareTensors(name, got[name], wanted(want), limit(name, want.integer)));
    outputs.push(...compareGradients(c, got, dtype));
    const steps: StepComparison[] = [];
    for (const [name, want] of c.steps) {
      const each = compareSteps(`step.${name}`, got[`step.${name}`], want, limit(`step.${name}`));
      steps.push(...each.map((comparison, i) => ({ ...comparison, step: i + 1 })));
      const { index, comparison } = worstOf(each);
      outputs.push({ ...comparison, output: `${comparison.output} (worst: ${index + 1} of ${each.length})` });
    }
    return {
      ...base,
      verdict: outputs.every((o) => o.verdict === "pass") ? "pass" : "fail",
      outputs,
      ...(steps.length ? { steps } : {}),
      ...(tracer ? { trace: tracer.result } : {}),
    };
  } catch (error) {
    gpu.assertAlive(); // a lost device ends the run, not this case alone
    return { ...base, verdict: "cannot be run", outputs: [], error: (error as Error).message };
  }
}

/** What went wrong in one line; empty for a pass. */
export function complaint(result: CaseResult): string {
  if (result.verdict === "pass") return "";
  const said =
    result.error ??
    result.outputs
      .filter((o) => o.verdict === "fail")
      .map(describe)
      .join(" · ");
  return `${result.name}: ${result.verdict}: ${said}`;
}
