/** Pipelines, compiled asynchronously and in parallel, one for each specialised kernel; kept as long as the device. */
import { CogwheelError } from "../base/errors.ts";
import type { Capabilities } from "./capabilities.ts";
import { defined, kernelLabel, specialise, usesImmediates, type BindingInfo, type Kernel, type Specialisation } from "./kernel.ts";

export interface Pipeline {
  readonly label: string;
  readonly kernel: Kernel;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly immediates: boolean;
}

export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #caps: Capabilities;
  /** By kernel, for an app's may have the name of one of ours, and by label. */
  readonly #cache = new Map<Kernel, Map<string, Promise<Pipeline>>>();
  /** How many pipelines were compiled, and the milliseconds during which at least one was being compiled. */
  readonly stats = { compiled: 0, ms: 0 };
  #pending = 0;
  #since = 0;

  constructor(device: GPUDevice, caps: Capabilities) {
    this.#device = device;
    this.#caps = caps;
  }

  get(kernel: Kernel, spec: Specialisation): Promise<Pipeline> {
    const label = kernelLabel(kernel, spec);
    const known = this.#cache.get(kernel) ?? new Map<string, Promise<Pipeline>>();
    this.#cache.set(kernel, known);
    let entry = known.get(label);
    if (!entry) {
      if (this.#pending++ === 0) this.#since = performance.now();
      entry = this.#compile(kernel, spec, label).finally(() => {
        this.stats.compiled++;
        if (--this.#pending === 0) this.stats.ms += performance.now() - this.#since;
      });
      known.set(label, entry);
      entry.catch(() => known.delete(label));
    }
    return entry;
  }

  /** Lets go of a kernel's pipelines: nobody asks for them again. */
  forget(kernel: Kernel): void {
    this.#cache.delete(kernel);
  }

  /** Resolves when none is being compiled. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#cache.values()].flatMap((known) => [...known.values()]));
  }

  async #compile(kernel: Kernel, spec: Specialisation, label: string): Promise<Pipeline> {
    const device = this.#device;
    const immediates = usesImmediates(kernel, this.#caps.immediates);
    if (Object.values({ ...kernel.types, ...defined(spec.types) }).includes("f16") && !this.#caps.f16) {
      throw new CogwheelError(
        kernel.name,
        `f16 storage needs an adapter with shader-f16, got ${this.#caps.description}; run with dtype f32`,
      );
    }
    if (kernel.enables.includes("chromium_experimental_subgroup_matrix") && this.#caps.subgroupMatrices.length === 0) {
      throw new CogwheelError(
        kernel.name,
        `subgroup matrices need an adapter with f16 ones of f32 sums, got ${this.#caps.description}; choose another variant`,
      );
    }
    const entries: GPUBindGroupLayoutEntry[] = (Object.values(kernel.bindings) as BindingInfo[]).map((b) => ({
      binding: b.binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: b.access === "read" ? "read-only-storage" : "storage" },
    }));
    if (kernel.paramBytes > 0 && !immediates) entries.push({ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: "uniform" } });
    const layout = device.createBindGroupLayout({ label, entries });
    const code = specialise(kernel, spec, immediates);
    const module = device.createShaderModule({ label, code });
    const pipelineLayout: GPUPipelineLayoutDescriptor & { immediateSize?: number } = { label, bindGroupLayouts: [layout] };
    if (immediates) pipelineLayout.immediateSize = kernel.paramBytes;
    try {
      const pipeline = await device.createComputePipelineAsync({
        label,
        layout: device.createPipelineLayout(pipelineLayout),
        compute: { module, entryPoint: "main", constants: { ...kernel.overrides, ...defined(spec.overrides) } },
      });
      return { label, kernel, pipeline, layout, immediates };
    } catch (error) {
      const info = await module.getCompilationInfo();
      const lines = code.split("\n");
      const messages = info.messages
        .filter((m) => m.type === "error")
        .flatMap((m) => [`  ${m.lineNum}:${m.linePos} ${m.message}`, `    ${lines[m.lineNum - 1] ?? ""}`]);
      throw new CogwheelError(kernel.name, `pipeline "${label}" does not compile: ${messages.length ? "" : (error as Error).message}`, {
        cause: error,
        lines: messages,
      });
    }
  }
}
