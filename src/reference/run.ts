/** Runs a reference case on the engine and judges every output. */
import type { Gpu } from "../gpu/gpu.ts";
import { caseWeights } from "./case.ts";
import { compareTensors, describe, thresholdFor, type Comparison } from "./compare.ts";
import type { ReferenceCase, ReferenceModule } from "./module.ts";
import { basicModules } from "./modules/basic.ts";
import { pipelineModules } from "./modules/pipeline.ts";
import { schedulerModules } from "./modules/scheduler.ts";
import { t5Modules } from "./modules/t5.ts";
import { transformerModules } from "./modules/transformer.ts";
import { vaeModules } from "./modules/vae.ts";

/** Modules of the format that the engine runs, by name. */
export const referenceModules: Readonly<Record<string, ReferenceModule>> = { ...basicModules, ...schedulerModules, ...t5Modules, ...transformerModules, ...pipelineModules, ...vaeModules };

/** `unsupported`: the engine has no such module; `cannot be run`: the case or the engine threw. */
export type CaseVerdict = "pass" | "fail" | "unsupported" | "cannot be run";

export interface CaseResult {
  readonly name: string;
  /** Null when the file could not be read that far. */
  readonly module: string | null;
  readonly verdict: CaseVerdict;
  readonly outputs: readonly Comparison[];
  /** Why there are no outputs. */
  readonly error?: string;
}

export interface RunCaseOptions {
  /** Storage type of weights and activations. Default f32. */
  dtype?: "f32" | "f16";
  /** Name the first node that makes a NaN or an infinity. */
  checkFinite?: boolean;
}

export async function runCase(gpu: Gpu, c: ReferenceCase, { dtype = "f32", checkFinite = false }: RunCaseOptions = {}): Promise<CaseResult> {
  const base = { name: c.name, module: c.module };
  const module = Object.hasOwn(referenceModules, c.module) ? referenceModules[c.module]! : undefined;
  if (!module) return { ...base, verdict: "unsupported", outputs: [], error: `module ${c.module} is not supported; supported are ${Object.keys(referenceModules).sort().join(", ")}` };
  try {
    const got = await gpu.scoped(c.name, () => module(c, { gpu, dtype, checkFinite, weights: (prefix) => caseWeights(c, dtype, prefix) }));
    const outputs = [...c.outputs].map(([name, want]) => compareTensors(name, got[name], want, thresholdFor(c.module, name, dtype, want.integer)));
    return { ...base, verdict: outputs.every((o) => o.verdict === "pass") ? "pass" : "fail", outputs };
  } catch (error) {
    gpu.assertAlive(); // a lost device ends the run, not this case alone
    return { ...base, verdict: "cannot be run", outputs: [], error: (error as Error).message };
  }
}

/** What went wrong in one line; empty for a pass. */
export function complaint(result: CaseResult): string {
  if (result.verdict === "pass") return "";
  const said = result.error ?? result.outputs.filter((o) => o.verdict === "fail").map(describe).join(" · ");
  return `${result.name}: ${result.verdict}: ${said}`;
}
