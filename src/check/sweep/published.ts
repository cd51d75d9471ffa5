/** Which specialisations the engine chooses for the published models of every family, planned at their published widths without a GPU. */
import type { Capabilities } from "../../gpu/capabilities.ts";
import { families } from "../../pipelines/families.ts";
import { compile } from "../../plan/compile.ts";

type Precision = "f32" | "f16";

/** Matrices in the storage type, or, where they do not fit f16, in f32; vectors always f32. */
const stored = (matrices: Precision) => ({
  type: (name: string): Precision => (name.endsWith("weight") && !/norm\w*\.weight$|norm_[qk]|norm_final/.test(name) ? matrices : "f32"),
});

/** Labels of every specialised kernel that a published model takes on such an adapter, each with a node that takes it. */
export function publishedKernels(caps: Capabilities): Map<string, string> {
  const found = new Map<string, string>();
  // With f16 also as they are where no matrix fits it.
  for (const dtype of caps.f16 ? (["f32", "f16"] as const) : (["f32"] as const))
    for (const matrices of dtype === "f16" ? (["f16", "f32"] as const) : (["f32"] as const))
      for (const { published } of families)
        for (const { graph } of published(dtype, stored(matrices)))
          for (const step of compile(graph, caps).steps) if (!found.has(step.label)) found.set(step.label, step.node.name);
  return found;
}
