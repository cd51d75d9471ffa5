/** What is compiled and let go, again and again, does not pile up in the driver: lavapipe's limit is a process's 65,530 mappings. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { testGpu } from "../support/gpu.ts";

const mappings = (): number => readFileSync("/proc/self/maps", "utf8").split("\n").length;

test("bind groups that nothing reaches are collected, though JavaScript's heap hardly grows", { timeout: 60_000 }, async () => {
  const gpu = await testGpu();
  const { device } = gpu;
  const layout = device.createBindGroupLayout({
    entries: [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: "storage" } }],
  });
  using owned = gpu.buffer("bind groups", 16, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC);
  const entries = [{ binding: 0, resource: { buffer: owned.buffer } }];
  const before = process.platform === "linux" ? mappings() : 0;
  const first = new WeakRef(gpu.bindGroup({ layout, entries }));
  for (let turn = 0; turn < 40; turn++) {
    for (let i = 0; i < 1000; i++) gpu.bindGroup({ layout, entries });
    await gpu.read(owned.buffer); // Dawn lets descriptors go when what was submitted before is done
  }
  expect(first.deref()).toBeUndefined();
  if (process.platform === "linux") expect(mappings() - before).toBeLessThan(30_000);
});
