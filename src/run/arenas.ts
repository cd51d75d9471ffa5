/** Memory on the device for the activations of several programs that never run at once: as large as the largest needs. */
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";
import type { Plan } from "../plan/compile.ts";

export class Arenas implements Disposable {
  readonly #buffers: OwnedBuffer[];
  constructor(gpu: Gpu, plans: readonly Plan[]) {
    this.#buffers = sharedArenas(plans).map((size, i) =>
      gpu.buffer(`shared.arena${i}`, size, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC),
    );
  }
  buffer(index: number): GPUBuffer {
    return this.#buffers[index]!.buffer;
  }
  [Symbol.dispose](): void {
    for (const buffer of this.#buffers) buffer[Symbol.dispose]();
  }
}

/** Bytes of the arenas of programs that share them: each is as large as its largest user. */
export function sharedArenas(plans: readonly Plan[]): number[] {
  const count = Math.max(0, ...plans.map((p) => p.memory.arenas.length));
  return Array.from({ length: count }, (_, i) => Math.max(...plans.map((p) => p.memory.arenas[i] ?? 0)));
}
