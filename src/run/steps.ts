/** Dispatches that are bound to their memory: what a run encodes, again and again. */
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import { packParams, type BindingInfo, type Kernel } from "../gpu/kernel.ts";
import type { Pipeline } from "../gpu/pipelines.ts";

export interface Step {
  readonly pipeline: Pipeline;
  readonly bindGroup: GPUBindGroup;
  readonly immediates: ArrayBuffer | null;
  readonly grid: readonly [number, number, number];
  readonly index: number;
}

/** A dispatch's pipeline, the memory that it is bound to, and its numbers. */
export interface StepSource {
  readonly pipeline: Pipeline;
  readonly resources: Readonly<Record<string, GPUBufferBinding>>;
  readonly params: Readonly<Record<string, number>>;
  readonly grid: readonly [number, number, number];
  readonly index: number;
}

/** Binds dispatches; where an adapter has no immediates, they share a uniform buffer, which is the caller's to dispose of. */
export function bindSteps(gpu: Gpu, label: string, sources: readonly StepSource[]): { steps: Step[]; uniforms: OwnedBuffer | undefined } {
  const { owned, slots } = uniformSlots(gpu, label, sources);
  const steps = sources.map(({ pipeline, resources, params, grid, index }, i): Step => {
    const kernel: Kernel = pipeline.kernel;
    const entries: GPUBindGroupEntry[] = (Object.entries(kernel.bindings) as [string, BindingInfo][]).map(([name, info]) => ({
      binding: info.binding,
      resource: resources[name]!,
    }));
    if (slots[i]) entries.push({ binding: 0, resource: slots[i] });
    return {
      pipeline,
      grid,
      index,
      bindGroup: gpu.bindGroup({ label: pipeline.label, layout: pipeline.layout, entries }),
      immediates: pipeline.immediates ? packParams(kernel, params) : null,
    };
  });
  return { steps, uniforms: owned };
}

/** A 256-byte slot of one uniform buffer for each dispatch that needs it. */
function uniformSlots(
  gpu: Gpu,
  label: string,
  sources: readonly StepSource[],
): { owned: OwnedBuffer | undefined; slots: (GPUBufferBinding | undefined)[] } {
  const needed = sources.map(({ pipeline }) => pipeline.kernel.paramBytes > 0 && !pipeline.immediates);
  const count = needed.filter(Boolean).length;
  if (count === 0) return { owned: undefined, slots: needed.map(() => undefined) };
  const data = new Uint8Array(count * 256);
  let slot = 0;
  const offsets = sources.map(({ pipeline, params }, i) => {
    if (!needed[i]) return -1;
    data.set(new Uint8Array(packParams(pipeline.kernel, params)), slot * 256);
    return slot++ * 256;
  });
  const owned = gpu.buffer(`${label}.params`, data.byteLength, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST, data);
  const slots = offsets.map((offset, i) =>
    offset < 0 ? undefined : { buffer: owned.buffer, offset, size: Math.ceil(sources[i]!.pipeline.kernel.paramBytes / 16) * 16 },
  );
  return { owned, slots };
}

/** `before` is the step that the pass holds last: what it has set need not be set again. */
export function encodeStep(pass: GPUComputePassEncoder, step: Step, before?: Step): void {
  if (step.pipeline !== before?.pipeline) pass.setPipeline(step.pipeline.pipeline);
  pass.setBindGroup(0, step.bindGroup);
  if (step.immediates) (pass as unknown as { setImmediates(offset: number, data: ArrayBuffer): void }).setImmediates(0, step.immediates);
  pass.dispatchWorkgroups(step.grid[0], step.grid[1], step.grid[2]);
}

/** A binding must hold a whole vec4, even one of a tensor with less; buffers and places in arenas are padded to that. */
export function sized(buffer: GPUBuffer, offset: number, bytes: number | undefined): GPUBufferBinding {
  return bytes === undefined ? { buffer, offset } : { buffer, offset, size: Math.ceil(bytes / 16) * 16 };
}
