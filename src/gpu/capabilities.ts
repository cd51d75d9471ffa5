/** What an adapter can do, read once and never asked again: kernels are chosen from this record alone. */

/** Shape of the matrices that a subgroup multiplies in one instruction: [M, K] · [K, N]. */
export interface SubgroupMatrix {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

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
export type CapabilityOverrides = Partial<Pick<Capabilities, "maxBindingBytes" | "maxBufferBytes" | "maxGrid" | "maxWorkgroupBytes" | "immediates" | "timestamps" | "kind" | "subgroups" | "subgroupMatrices" | "tuning">>;

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
  interface Config { componentType: string; resultComponentType: string; M: number; N: number; K: number }
  const features = device.features as ReadonlySet<string>;
  if (![SUBGROUP_MATRIX, "shader-f16", "subgroups"].every((name) => features.has(name))) return [];
  const configs = (info as unknown as { subgroupMatrixConfigs?: Iterable<Config> }).subgroupMatrixConfigs ?? [];
  return [...configs]
    .filter((c) => c.componentType === "f16" && c.resultComponentType === "f32")
    .map((c) => ({ m: c.M, n: c.N, k: c.K }))
    .sort((a, b) => b.m * b.n * b.k - a.m * a.n * a.k);
}

export function readCapabilities(
  device: GPUDevice,
  info: GPUAdapterInfo,
  kind: "hardware" | "software",
  languageFeatures: ReadonlySet<string>,
  overrides: CapabilityOverrides = {},
): Capabilities {
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
