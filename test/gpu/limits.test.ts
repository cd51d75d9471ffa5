/** What no adapter can be, or none that kernels run on, is refused in words. */
import { describe, expect, it } from "vitest";
import { readCapabilities } from "../../src/gpu/capabilities.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { Graph } from "../../src/graph/graph.ts";
import { choose } from "../../src/plan/choice.ts";
import { compile } from "../../src/plan/compile.ts";
import { ExactRun } from "../../src/models/vae/exact/run.ts";
import { vaeGraphs } from "../../src/models/vae/batches.ts";
import { parseVaeConfig } from "../../src/models/vae/config.ts";
import { matmul } from "../../src/ops/matmul.ts";
import { limitedGpu, testGpu } from "../support/gpu.ts";
import { TINY_CONFIGS } from "../support/tiny-checkpoint.ts";

/** The device with other limits. */
const odd = (device: GPUDevice, changed: Partial<Record<keyof GPUSupportedLimits, number | undefined>>): GPUDevice =>
  new Proxy(device, {
    get: (target, name) =>
      name === "limits"
        ? new Proxy(target.limits, {
            get: (limits, limit) => (limit in changed ? changed[limit as keyof GPUSupportedLimits] : Reflect.get(limits, limit, limits)),
          })
        : Reflect.get(target, name, target),
  });

describe("a device below what WebGPU promises", () => {
  it.each([
    [{ maxComputeWorkgroupStorageSize: 4096 }, "maxComputeWorkgroupStorageSize 4096 in place of 16384"],
    [
      { maxComputeInvocationsPerWorkgroup: 128, maxStorageBuffersPerShaderStage: 4 },
      "maxComputeInvocationsPerWorkgroup 128 in place of 256, maxStorageBuffersPerShaderStage 4 in place of 8",
    ],
    [{ maxStorageBufferBindingSize: 0 }, "maxStorageBufferBindingSize 0 in place of 134217728"],
    [{ maxBufferSize: NaN }, "maxBufferSize NaN in place of 268435456"],
    [{ maxComputeWorkgroupsPerDimension: undefined }, "maxComputeWorkgroupsPerDimension undefined in place of 65535"],
    [{ minStorageBufferOffsetAlignment: 512 }, "minStorageBufferOffsetAlignment must be a power of two up to 256, got 512"],
  ])("%j is refused", async (limits, message) => {
    const gpu = await testGpu();
    const { device } = gpu;
    expect(() => readCapabilities(odd(device, limits), device.adapterInfo, "hardware", new Set())).toThrow(message);
    await expect(Gpu.open({ device: odd(device, limits) })).rejects.toThrow(/^\[gpu\] a device('s|) /);
  });

  it("default limits are enough", async () => {
    const { device } = await testGpu();
    const floor = {
      maxStorageBufferBindingSize: 128 << 20,
      maxBufferSize: 256 << 20,
      maxComputeWorkgroupStorageSize: 16384,
      maxComputeInvocationsPerWorkgroup: 256,
      maxStorageBuffersPerShaderStage: 8,
      maxComputeWorkgroupsPerDimension: 65535,
    };
    expect(readCapabilities(odd(device, floor), device.adapterInfo, "hardware", new Set())).toMatchObject({
      maxBindingBytes: 128 << 20,
      maxWorkgroupBytes: 16384,
    });
  });
});

describe("capabilities that are pretended", () => {
  it.each([
    [{ maxBindingBytes: 0 }, "maxBindingBytes must be a whole number from 1024, got 0"],
    [{ maxBindingBytes: NaN }, "maxBindingBytes must be a whole number from 1024, got NaN"],
    [{ maxBufferBytes: -5 }, "maxBufferBytes must be a whole number from 1024, got -5"],
    [{ maxGrid: 0 }, "maxGrid must be a whole number from 1, got 0"],
    [{ maxGrid: 2.5 }, "maxGrid must be a whole number from 1, got 2.5"],
    [{ maxWorkgroupBytes: 4096 }, "maxWorkgroupBytes must be a whole number from 16384, got 4096"],
    [{ kind: "x" as "software" }, 'kind must be hardware or software, got "x"'],
    [{ subgroups: { min: 0, max: 0 } }, 'subgroups must be sizes from 4 to 128, powers of two, got {"min":0,"max":0}'],
    [{ subgroups: { min: 3, max: 8 } }, "subgroups must be sizes"],
  ])("%j is refused", async (capabilities, message) => {
    await expect(limitedGpu(capabilities)).rejects.toThrow(`[gpu] capabilities.${message}`);
  });

  it("work that no kernel can do within the limits is named, and no budget is blamed for them", async () => {
    const gpu = await testGpu();
    expect(() => choose("conv3d x", [])).toThrow(
      "[kernels] an adapter must run a kernel for every kind of work, " +
        'got none for "conv3d x" within its limits; open one with WebGPU\'s own limits at least',
    );
    const caps = { ...gpu.caps, maxWorkgroupBytes: 64, subgroupMatrices: [], kind: "hardware" as const };
    const graph = new Graph("test", () => "f32");
    graph.output("y", matmul(graph.input("x", [64, 64]), graph.weight("w", [64, 64])));
    expect(() => compile(graph, caps)).toThrow(/^\[kernels\] an adapter must run a kernel for every kind of work, got none for "matmul/);
    const config = parseVaeConfig(TINY_CONFIGS.vae);
    const [vae] = vaeGraphs(
      config,
      { type: () => "f32" },
      { part: "decode", batch: 1, frames: 3, height: 4, width: 4, format: "sample", dtype: "f32" },
    ).graphs;
    await using small = await limitedGpu({ maxBindingBytes: 1024 });
    await expect(
      new ExactRun(small, undefined as never, { tileBytes: 1e9, hostBytes: Infinity }).batch(vae!, new Float32Array(3 * 4 * 4 * 4)),
    ).rejects.toThrow(
      /^\[vae\] the smallest tile of a \d+ × \d+ picture must fit the adapter's limits, got bindings of 1024 and buffers of \d+ bytes at most; use another adapter/,
    );
  });
});
