import { describe, expect, it } from "vitest";
import * as browser from "../../src/platform/browser.ts";
import * as node from "../../src/platform/node.ts";
import type { Platform } from "../../src/platform/types.ts";

node satisfies Platform;
browser satisfies Platform;

const SPIN = `
@group(0) @binding(0) var<storage, read_write> data: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  var x = data[id.x];
  for (var i = 0u; i < 40000u; i++) { x = fma(x, 0.999, 0.001); }
  data[id.x] = x;
}`;

describe("the platform in Node", () => {
  it("lists the adapter that it opens, by its name", async () => {
    const { adapter, name, kind, advice, languageFeatures } = await node.requestGpuAdapter();
    expect(adapter.limits.maxBufferSize).toBeGreaterThan(0);
    expect(languageFeatures.has("packed_4x8_integer_dot_product")).toBe(true);
    expect(advice === undefined).toBe(kind === "hardware");
    const list = await node.listAdapters();
    expect(list.map((one) => one.name)).toContain(name);
    const { select } = list.find((one) => one.name === name)!;
    expect((await node.requestGpuAdapter({ adapter: select })).name).toBe(name);
  });

  it("waits until the queue is dry, at little cost, and stops waiting when told", async () => {
    const { adapter } = await node.requestGpuAdapter();
    const device = await adapter.requestDevice();
    const module = device.createShaderModule({ code: SPIN });
    const pipeline = device.createComputePipeline({ layout: "auto", compute: { module } });
    const buffer = device.createBuffer({ size: 65536 * 4, usage: GPUBufferUsage.STORAGE });
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer } }] });
    const submit = (): void => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(512);
      pass.end();
      device.queue.submit([encoder.finish()]);
    };
    submit();
    const begun = performance.now();
    await node.waitForGpu(device);
    const took = performance.now() - begun;

    submit();
    await node.waitForGpu(device, took);
    let after = false;
    void device.queue.onSubmittedWorkDone().then(() => (after = true));
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(after, "nothing was left to do").toBe(true);

    for (const predicted of [0, 60_000]) {
      submit();
      const controller = new AbortController();
      queueMicrotask(() => controller.abort(new Error("enough")));
      await expect(node.waitForGpu(device, predicted, controller.signal)).rejects.toThrow("enough");
    }
    await expect(node.waitForGpu(device, 0, AbortSignal.abort())).rejects.toThrow("aborted");
    await node.waitForGpu(device);
    device.destroy();
  });

  it("ends a wait that only another submission ends, as a driver was seen to do", async () => {
    const { adapter } = await node.requestGpuAdapter();
    const device = await adapter.requestDevice();
    const { queue } = device;
    let release = (): void => {};
    let submits = 0;
    const stuck = {
      createCommandEncoder: () => device.createCommandEncoder(),
      queue: {
        submit: (buffers: GPUCommandBuffer[]) => {
          queue.submit(buffers);
          submits++;
          release();
        },
        onSubmittedWorkDone: () => new Promise<void>((resolve) => (release = resolve)),
      },
    } as unknown as GPUDevice;
    await node.waitForGpu(stuck);
    expect(submits).toBe(1);
    device.destroy();
  });

  it("knows its memory", () => {
    expect(node.peakResidentBytes()).toBeGreaterThan(20e6);
    expect(node.availableMemoryBytes()).toBeGreaterThan(20e6);
    const ballast = Buffer.alloc(300e6, 1);
    expect(node.peakResidentBytes()).toBeGreaterThan(ballast.length);
  });
});

it("of macOS, whose free pages are few on any machine, all memory may be had; elsewhere what is free", async () => {
  const { freeBytes } = await import("../../src/platform/memory-node.ts");
  const few = { free: 2e8, total: 1.6e10 };
  expect([freeBytes("darwin", few), freeBytes("win32", few)]).toEqual([1.6e10, 2e8]);
});
