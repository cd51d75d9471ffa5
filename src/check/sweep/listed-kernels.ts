/**
 * How a case list names its op's kernels: each with the capabilities under which the
 * engine chooses it, and what it needs of an adapter.
 */
import type { Capabilities } from "../../gpu/capabilities.ts";
import type { Kernel } from "../../gpu/kernel.ts";
import type { ListedKernel } from "./case.ts";

const FOUR_LANES = "subgroups of 4 lanes or more";
/** CPU adapters' kernels that are chosen by how many lanes a subgroup has: `needs` of {@link ListedKernel}. */
export const fewerLanes = (caps: Capabilities): string | undefined =>
  caps.subgroups && caps.subgroups.min >= 4 && caps.subgroups.min < 8 ? undefined : "subgroups of 4 lanes";
/** `needs`: subgroups of 8 lanes, whose kernels the engine prefers to those of 4. */
export const eightLanes = (caps: Capabilities): string | undefined =>
  caps.subgroups && caps.subgroups.min >= 8 ? undefined : "subgroups of 8 lanes or more";

/** `needs`: products of 8-bit integers in the language. */
export const integerProducts = ({ dotI8 }: Capabilities): string | undefined => (dotI8 ? undefined : "packed_4x8_integer_dot_product");

/** The kernels of an op that has one for CPU adapters and one for GPUs. */
export function cpuKernel(kernel: Kernel, rest: Partial<ListedKernel> = {}): ListedKernel {
  return {
    kernel,
    when: { kind: "software" },
    needs: (caps) => (caps.subgroups && caps.subgroups.min >= 4 ? undefined : FOUR_LANES),
    ...rest,
  };
}
export function gpuKernel(kernel: Kernel, rest: Partial<ListedKernel> = {}): ListedKernel {
  return { kernel, when: { kind: "hardware" }, ...rest };
}
/** A GPU's kernel for two matrices in f16. Others of the op are asked for as on adapters without subgroup matrices. */
export function matrixKernel(kernel: Kernel, rest: Pick<ListedKernel, "takes">): ListedKernel {
  return gpuKernel(kernel, { needs: (caps) => (caps.subgroupMatrices.length ? undefined : "subgroup matrices"), ...rest });
}
/** A GPU's kernel of an op that has one with subgroup matrices too. */
export function tiledKernel(kernel: Kernel): ListedKernel {
  return { kernel, when: { kind: "hardware", subgroupMatrices: [] } };
}
/** A kernel that serves both; its workgroup may be another on a CPU adapter. */
export function oneKernel(kernel: Kernel): ListedKernel[] {
  return [
    { kernel, when: { kind: "hardware" } },
    { kernel, when: { kind: "software" } },
  ];
}
/** `needs`: every subgroup of the adapter has as many lanes. */
export const oneWidth = ({ subgroups }: Capabilities): string | undefined =>
  subgroups && subgroups.min === subgroups.max ? undefined : "subgroups of one width";
