/** A buffer is not destroyed while it is being mapped (src/gpu/map.ts says what came of it). */
import { expect, test } from "vitest";
import { destroyBuffer, mapBuffer } from "../../src/gpu/map.ts";
import { Uploader } from "../../src/gpu/uploader.ts";
import { limitedGpu, testGpu } from "../support/gpu.ts";

const upload = (device: GPUDevice): GPUBuffer =>
  device.createBuffer({ size: 256, usage: GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC });
const isDestroyed = (buffer: GPUBuffer): Promise<boolean> =>
  buffer.mapAsync(GPUMapMode.WRITE).then(
    () => false,
    () => true,
  );

test("a buffer that is being mapped is destroyed when it is mapped, another one at once", async () => {
  const { device } = await testGpu();
  const mapping = upload(device);
  const mapped = mapBuffer(mapping, GPUMapMode.WRITE);
  destroyBuffer(mapping);
  expect(mapping.mapState).toBe("pending");
  await mapped;
  await new Promise((resolve) => setImmediate(resolve));
  expect(mapping.mapState).toBe("unmapped");
  device.pushErrorScope("validation");
  expect(await isDestroyed(mapping)).toBe(true);
  const idle = upload(device);
  destroyBuffer(idle);
  expect(await isDestroyed(idle)).toBe(true);
  expect(await device.popErrorScope()).not.toBeNull();
});

test("an upload that has ended leaves no buffer destroyed in the middle of its mapping", async () => {
  const gpu = await testGpu();
  const made: GPUBuffer[] = [];
  const { createBuffer } = gpu.device;
  Object.defineProperty(gpu.device, "createBuffer", {
    configurable: true,
    value: (descriptor: GPUBufferDescriptor) => {
      const buffer = createBuffer.call(gpu.device, descriptor);
      if (descriptor.usage & GPUBufferUsage.MAP_WRITE) made.push(buffer);
      return buffer;
    },
  });
  try {
    using to = gpu.buffer("to", 1 << 16, GPUBufferUsage.COPY_DST);
    const before = gpu.memory.allocated;
    {
      using uploader = new Uploader(gpu);
      const use = (encoder: GPUCommandEncoder, { buffer, offset, size }: Required<GPUBufferBinding>) =>
        encoder.copyBufferToBuffer(buffer, offset, to.buffer, 0, size);
      await uploader.put({ bytes: 1 << 16, fill: async (memory) => void memory.fill(1), read: false, use });
    }
    expect(made.map(({ mapState }) => mapState)).toEqual(["unmapped"]);
    expect(gpu.memory.allocated).toBe(before);
  } finally {
    delete (gpu.device as { createBuffer?: unknown }).createBuffer;
  }
});

test("a device that is lost in the middle of a mapping ends it", async () => {
  const gpu = await limitedGpu({});
  const buffer = upload(gpu.device);
  const mapped = mapBuffer(buffer, GPUMapMode.WRITE);
  gpu.device.destroy();
  destroyBuffer(buffer);
  await expect(mapped).rejects.toThrow();
});
