/** What an adapter can do, read once and never asked again: kernels are chosen from this record alone. */

import { CogwheelError } from "../base/errors.ts";

/** Shape of the matrices that a subgroup multiplies in one instruction: [M, K] · [K, N]. */
export interface SubgroupMatrix {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** What an adapter can do and how much: plans and the choice of kernels follow from it, without a device. */
export interface Capabilities {
  /** `software` adapters run on the CPU: slow, with costs of their own. */
  readonly kind: "hardware" | "software";
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  readonly f16: boolean;
  readonly subgroups: { readonly min: number; readonly max: number } | null;
  /** Configurations of f16 matrices with f32 sums, the largest first; none without the (experimental) feature. */
  readonly subgroupMatrices: readonly SubgroupMatrix[];
  readonly timestamps: boolean;
  /** Products of four 8-bit integers, `dot4I8Packed`: the language has them, whether the hardware does or not. */
  readonly dotI8: boolean;
  /** Parameters as immediates (else as a uniform). */
  readonly immediates: boolean;
  readonly maxBindingBytes: number;
  readonly maxBufferBytes: number;
  readonly maxWorkgroupInvocations: number;
  readonly maxWorkgroupBytes: number;
  readonly maxStorageBuffers: number;
  /** Largest grid in one dimension; longer grids fold into y. */
  readonly maxGrid: number;
  /** Alignment of a binding's offset in its buffer, bytes. */
  readonly offsetAlignment: number;
  /** Which kernel was measured to be fastest here, by the kind of work (docs/tuning.md); none for work that was not measured. */
  readonly tuning?: Readonly<Record<string, string>>;
}

/** Lower some limits below the adapter's own: tests run the paths for large tensors on small ones. */
export type CapabilityOverrides = Partial<
  Pick<
    Capabilities,
    | "maxBindingBytes"
    | "maxBufferBytes"
    | "maxGrid"
    | "maxWorkgroupBytes"
    | "immediates"
    | "timestamps"
    | "dotI8"
    | "kind"
    | "subgroups"
    | "subgroupMatrices"
    | "tuning"
  >
>;

/** Dawn has it behind a toggle in Node (src/platform/dawn.ts), Chrome behind a flag. */
const SUBGROUP_MATRIX = "chromium-experimental-subgroup-matrix";

export const WANTED_FEATURES = ["shader-f16", "subgroups", "timestamp-query", SUBGROUP_MATRIX] as const;

const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupsPerDimension",
] as const;

/** Ask for all that the adapter offers of what kernels can use. */
export function deviceDescriptor(adapter: GPUAdapter): GPUDeviceDescriptor {
  const limits: Record<string, number> = {};
  for (const name of [...WANTED_LIMITS, "maxImmediateSize"]) {
    const value = (adapter.limits as unknown as Record<string, number | undefined>)[name];
    if (value !== undefined) limits[name] = value;
  }
  return {
    label: "cogwheel",
    requiredFeatures: WANTED_FEATURES.filter((f) => adapter.features.has(f)) as GPUFeatureName[],
    requiredLimits: limits,
  };
}

function subgroupMatrices(device: GPUDevice, info: GPUAdapterInfo): SubgroupMatrix[] {
  interface Config {
    componentType: string;
    resultComponentType: string;
    M: number;
    N: number;
    K: number;
  }
  const features = device.features as ReadonlySet<string>;
  if (![SUBGROUP_MATRIX, "shader-f16", "subgroups"].every((name) => features.has(name))) return [];
  const configs = (info as unknown as { subgroupMatrixConfigs?: Iterable<Config> }).subgroupMatrixConfigs ?? [];
  return [...configs]
    .filter((c) => c.componentType === "f16" && c.resultComponentType === "f32")
    .map((c) => ({ m: c.M, n: c.N, k: c.K }))
    .sort((a, b) => b.m * b.n * b.k - a.m * a.n * a.k);
}

/** What WebGPU promises of every adapter, and kernels count on; below it are odd drivers and the compatibility mode. */
const FLOOR = {
  maxStorageBufferBindingSize: 128 << 20,
  maxBufferSize: 256 << 20,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupsPerDimension: 65535,
} as const;

/** The least that may be pretended, for tests: bindings and grids are cut into windows, workgroup memory is not. */
const LEAST = { maxBindingBytes: 1024, maxBufferBytes: 1024, maxGrid: 1, maxWorkgroupBytes: FLOOR.maxComputeWorkgroupStorageSize } as const;

function checkLimits({ limits }: GPUDevice, overrides: CapabilityOverrides): void {
  const low = Object.entries(FLOOR).filter(([name, least]) => !(limits[name as keyof typeof FLOOR] >= least));
  if (low.length)
    throw new CogwheelError(
      "gpu",
      "a device must have the limits that WebGPU promises, " +
        `got ${low.map(([name, least]) => `${name} ${limits[name as keyof typeof FLOOR]} in place of ${least}`).join(", ")}; ` +
        "use another adapter, or ask for a core device and not one in compatibility mode",
    );
  const { minStorageBufferOffsetAlignment: alignment } = limits;
  if (!(alignment >= 1 && alignment <= 256 && Number.isInteger(Math.log2(alignment))))
    throw new CogwheelError(
      "gpu",
      `a device's minStorageBufferOffsetAlignment must be a power of two up to 256, got ${alignment}; use another adapter`,
    );
  for (const [name, least] of Object.entries(LEAST)) {
    const value = overrides[name as keyof typeof LEAST];
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= least))
      throw new CogwheelError(
        "gpu",
        `capabilities.${name} must be a whole number from ${least}, got ${String(value)}; leave it out for the adapter's own`,
      );
  }
  const { kind, subgroups } = overrides;
  if (kind !== undefined && kind !== "hardware" && kind !== "software")
    throw new CogwheelError(
      "gpu",
      `capabilities.kind must be hardware or software, got ${JSON.stringify(kind)}; leave it out for the adapter's own`,
    );
  const size = (n: number): boolean => n >= 4 && n <= 128 && Number.isInteger(Math.log2(n));
  if (subgroups && !(size(subgroups.min) && size(subgroups.max) && subgroups.min <= subgroups.max))
    throw new CogwheelError(
      "gpu",
      `capabilities.subgroups must be sizes from 4 to 128, powers of two, got ${JSON.stringify(subgroups)}; null for none`,
    );
}

/** Throws for a device that lacks what WebGPU promises, and for overrides that no adapter could have. */
export function readCapabilities(
  device: GPUDevice,
  info: GPUAdapterInfo,
  kind: "hardware" | "software",
  languageFeatures: ReadonlySet<string>,
  overrides: CapabilityOverrides = {},
): Capabilities {
  checkLimits(device, overrides);
  const { limits } = device;
  const immediateBytes = (limits as unknown as { maxImmediateSize?: number }).maxImmediateSize ?? 0;
  return {
    kind,
    vendor: info.vendor,
    architecture: info.architecture,
    description: info.description || info.device || info.architecture || info.vendor,
    f16: device.features.has("shader-f16"),
    subgroups: device.features.has("subgroups") ? { min: info.subgroupMinSize ?? 4, max: info.subgroupMaxSize ?? 128 } : null,
    subgroupMatrices: subgroupMatrices(device, info),
    timestamps: device.features.has("timestamp-query"),
    dotI8: languageFeatures.has("packed_4x8_integer_dot_product"),
    immediates: languageFeatures.has("immediate_address_space") && immediateBytes >= 64,
    maxBindingBytes: limits.maxStorageBufferBindingSize,
    maxBufferBytes: limits.maxBufferSize,
    maxWorkgroupInvocations: limits.maxComputeInvocationsPerWorkgroup,
    maxWorkgroupBytes: limits.maxComputeWorkgroupStorageSize,
    maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
    maxGrid: limits.maxComputeWorkgroupsPerDimension,
    offsetAlignment: Math.max(256, limits.minStorageBufferOffsetAlignment),
    ...overrides,
  };
}
