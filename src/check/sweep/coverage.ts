/** What no case ran: kernels of the build, and specialisations that the published models are lowered to. */
import { allKernels } from "#kernels";
import { allCases } from "#sweep-cases";
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { OpCases } from "./case.ts";
import { publishedKernels } from "./published.ts";

/** Kernels that no op is lowered to. */
const OTHER_FAMILIES = new Set(["bench", "debug"]);

/** Kernels in the build that no case list runs. */
export function kernelsWithoutCases(lists: readonly OpCases[] = allCases): string[] {
  const listed = new Set(lists.flatMap((list) => list.kernels.map((k) => k.kernel.name)));
  return allKernels.filter((k) => !OTHER_FAMILIES.has(k.family) && !listed.has(k.name)).map((k) => k.name);
}

/** What published models are lowered to on this adapter, with the kernels for GPUs and those for CPUs, and nothing ran. */
export function unsweptKernels(caps: Capabilities, swept: ReadonlySet<string>): { label: string; node: string }[] {
  const missing = new Map<string, string>();
  for (const kind of ["hardware", "software"] as const) {
    for (const [label, node] of publishedKernels({ ...caps, kind })) if (!swept.has(label)) missing.set(label, node);
  }
  return [...missing].map(([label, node]) => ({ label, node }));
}
