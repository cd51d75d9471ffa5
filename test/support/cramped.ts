/** A device on which only so many bytes of buffers may be: what goes beyond fails as WebGPU lets it fail. */
import type { Gpu } from "../../src/gpu/gpu.ts";

/**
 * From here on, a buffer that does not fit is an invalid one, and the error scope around it (or the listener, where there is none) hears of
 * the memory that lacked, as of an adapter's own. Returns how often that was.
 */
export function cramp({ device }: Gpu, bytes: number): () => number {
  const create = device.createBuffer.bind(device);
  const [push, pop] = [device.pushErrorScope.bind(device), device.popErrorScope.bind(device)];
  const sizes = new Map<GPUBuffer, number>();
  const scopes: { filter: GPUErrorFilter; short: boolean }[] = [];
  let failures = 0;
  device.createBuffer = (descriptor) => {
    const used = [...sizes.values()].reduce((a, b) => a + b, 0);
    if (used + descriptor.size <= bytes) {
      const buffer = create(descriptor);
      const destroy = buffer.destroy.bind(buffer);
      sizes.set(buffer, descriptor.size);
      buffer.destroy = () => {
        sizes.delete(buffer);
        destroy();
      };
      return buffer;
    }
    failures++;
    const scope = scopes.findLast(({ filter }) => filter === "out-of-memory");
    if (scope) scope.short = true;
    else device.dispatchEvent(Object.assign(new Event("uncapturederror"), { error: new GPUOutOfMemoryError("vkAllocateMemory failed") }));
    push("validation");
    const buffer = create({ ...descriptor, mappedAtCreation: false, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
    void pop();
    return buffer;
  };
  device.pushErrorScope = (filter) => {
    scopes.push({ filter, short: false });
    push(filter);
  };
  device.popErrorScope = async () => {
    const { filter, short } = scopes.pop()!;
    const error = await pop();
    return short && filter === "out-of-memory" ? new GPUOutOfMemoryError("vkAllocateMemory failed") : error;
  };
  return () => failures;
}
