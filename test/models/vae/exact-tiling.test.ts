/** Exact tiling: the result of the whole picture, with a working set that the picture's size does not raise. */
import { readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseVaeConfig, type VaeConfig } from "../../../src/models/vae/config.ts";
import { planExact } from "../../../src/models/vae/exact/plan.ts";
import type { TilingReport } from "../../../src/models/vae/exact/run.ts";
import { vaeGraph, type VideoShape } from "../../../src/models/vae/batches.ts";
import { rewrite } from "../../../src/graph/rewrite.ts";
import { causalCacheOp } from "../../../src/ops/causal_cache.ts";
import { channelsLastOp } from "../../../src/ops/channels.ts";
import { conv3dOp } from "../../../src/ops/conv3d.ts";
import { groupNormMergeOp } from "../../../src/ops/group_norm_merge.ts";
import { groupNormStatsOp } from "../../../src/ops/group_norm_stats.ts";
import { siluOp } from "../../../src/ops/silu.ts";
import { CausalVae, type DecodedFrames } from "../../../src/models/vae/model.ts";
import { relativeL2, values } from "../../support/compare.ts";
import { spillRoom } from "../../../src/platform/spill-node.ts";
import { memoryWeights, testGpu } from "../../support/gpu.ts";
import { smallVae, smallVaeWeights } from "../../support/small-vae.ts";

/** Three sizes of picture, time doubled twice and once, odd channels, a shortcut, groups of several channels. */
const configs = {
  small: smallVae(),
  deep: parseVaeConfig({
    block_out_channels: [6, 6, 12],
    latent_channels: 3,
    layers_per_block: 2,
    norm_num_groups: 3,
    temporal_compression_ratio: 4,
  }),
};
const weights = (config: VaeConfig, dtype: "f32" | "f16" = "f32") => memoryWeights(smallVaeWeights(config), dtype);
const size = ({ batch, frames, height, width }: VideoShape) => batch * frames * height * width;

describe("gives what the whole picture gives", () => {
  const cases: [keyof typeof configs, VideoShape, number][] = [
    ["small", { batch: 1, frames: 1, height: 5, width: 7 }, 9000],
    ["small", { batch: 1, frames: 2, height: 9, width: 3 }, 12000],
    ["small", { batch: 2, frames: 3, height: 6, width: 11 }, 40000],
    ["small", { batch: 1, frames: 7, height: 4, width: 6 }, 14000],
    ["deep", { batch: 1, frames: 3, height: 7, width: 5 }, 90000],
    ["deep", { batch: 1, frames: 6, height: 4, width: 9 }, 60000],
  ];
  test.for(cases)("decoding, %s %o in %i bytes", async ([name, shape, budgetBytes]) => {
    const config = configs[name];
    using vae = CausalVae.create(await testGpu(), config, weights(config));
    const latents = values(size(shape) * config.latent_channels, 3);
    const whole = await vae.decode(latents, shape);
    let report: TilingReport | undefined;
    const tiled = await vae.decode(latents, shape, {
      tiling: { mode: "exact", budgetBytes },
      onTiling: (r) => {
        report = r;
      },
    });
    expect(tiled.shape).toEqual(whole.shape);
    expect(relativeL2(tiled.data, whole.data)).toBeLessThan(1e-6);
    expect(report!.tiles).toBeGreaterThan(20);
    expect(report!.deviceBytes).toBeLessThanOrEqual(budgetBytes);
    expect(relativeL2((await vae.decode(latents, shape, { tiling: "exact" })).data, whole.data), "one tile").toBeLessThan(1e-6);
  });

  test.for<[keyof typeof configs, VideoShape, number]>([
    ["small", { batch: 1, frames: 1, height: 10, width: 14 }, 9000],
    ["small", { batch: 2, frames: 9, height: 12, width: 6 }, 60000],
    ["small", { batch: 1, frames: 19, height: 6, width: 10 }, 40000],
    ["deep", { batch: 1, frames: 9, height: 20, width: 12 }, 90000],
    ["deep", { batch: 1, frames: 5, height: 12, width: 28 }, 50000],
  ])("encoding, %s %o in %i bytes", async ([name, shape, budgetBytes]) => {
    const config = configs[name];
    using vae = CausalVae.create(await testGpu(), config, weights(config));
    const video = values(size(shape) * 3, 4);
    const whole = await vae.encode(video, shape);
    let report: TilingReport | undefined;
    const tiled = await vae.encode(video, shape, {
      tiling: { mode: "exact", budgetBytes },
      onTiling: (r) => {
        report = r;
      },
    });
    expect(tiled.shape).toEqual(whole.shape);
    expect(relativeL2(tiled.mean, whole.mean)).toBeLessThan(1e-6);
    expect(relativeL2(tiled.logvar, whole.logvar)).toBeLessThan(1e-6);
    expect(report!.tiles).toBeGreaterThan(10);
  });

  test("in every format, frames as they come, and near in f16", async () => {
    const gpu = await testGpu();
    const config = configs.deep;
    const shape = { batch: 1, frames: 5, height: 4, width: 6 };
    const latents = values(size(shape) * 3, 3);
    using vae = CausalVae.create(gpu, config, weights(config));
    const collect = async (tiling?: { mode: "exact"; budgetBytes: number }) => {
      const parts: DecodedFrames[] = [];
      await vae.decode(latents, shape, { format: "rgba", onFrames: (part) => void parts.push(part), ...(tiling ? { tiling } : {}) });
      return parts;
    };
    const [whole, tiled] = [await collect(), await collect({ mode: "exact", budgetBytes: 60000 })];
    expect(tiled.map(({ start, frames }) => [start, frames])).toEqual(whole.map(({ start, frames }) => [start, frames]));
    for (const [i, { data }] of tiled.entries())
      expect(Math.max(...data.map((v, k) => Math.abs(v - whole[i]!.data[k]!)))).toBeLessThanOrEqual(1);
    if (!gpu.caps.f16) return;
    using half = CausalVae.create(gpu, config, weights(config, "f16"), { dtype: "f16" });
    const [a, b] = [
      await half.decode(latents, shape),
      await half.decode(latents, shape, { tiling: { mode: "exact", budgetBytes: 50000 } }),
    ];
    expect(relativeL2(b.data, a.data)).toBeLessThan(1e-3); // the same roundings but where a norm's last bit differs
  });
});

describe("activations that memory has no room for", () => {
  const [before, place] = [process.env["XDG_CACHE_HOME"], join(tmpdir(), `cogwheel-spill-${process.pid}`)];
  beforeAll(() => {
    process.env["XDG_CACHE_HOME"] = place;
  });
  afterAll(() => {
    if (before === undefined) delete process.env["XDG_CACHE_HOME"];
    else process.env["XDG_CACHE_HOME"] = before;
    rmSync(place, { recursive: true, force: true });
  });
  const shape = { batch: 1, frames: 6, height: 4, width: 9 };
  const latents = values(3 * size(shape), 5);

  test("lie on a disk, byte for byte the same, and leave nothing there", async () => {
    using vae = CausalVae.create(await testGpu(), configs.deep, weights(configs.deep));
    const reports: TilingReport[] = [];
    const decode = (hostBytes: number) =>
      vae.decode(latents, shape, {
        tiling: { mode: "exact", budgetBytes: 60000, hostBytes },
        onTiling: (report) => reports.push(report),
      });
    const whole = await decode(Infinity);
    const most = reports[0]!.hostBytes;
    for (const hostBytes of [Math.floor(most / 2), 1]) {
      expect((await decode(hostBytes)).data).toEqual(whole.data);
      const report = reports.at(-1)!;
      expect(report.hostBytes).toBeLessThanOrEqual(hostBytes);
      expect(report.spilledBytes).toBeGreaterThan(most - hostBytes - 1);
      expect(report.spilledBytes).toBeLessThanOrEqual(most);
    }
    expect(readdirSync(join(place, "cogwheel/spill"))).toEqual([]);
    if (process.platform === "linux")
      expect(readdirSync("/proc/self/fd").filter((fd) => linkOf(`/proc/self/fd/${fd}`).includes("cogwheel/spill"))).toEqual([]);
  });

  test("are told of where the disk does not take them", async () => {
    using vae = CausalVae.create(await testGpu(), configs.deep, weights(configs.deep));
    rmSync(join(place, "cogwheel"), { recursive: true, force: true });
    writeFileSync(join(place, "cogwheel"), "a file, where the folder would be");
    await expect(vae.decode(latents, shape, { tiling: { mode: "exact", hostBytes: 1 } })).rejects.toThrow(
      /^\[vae\] activations that memory has no room for must be kept in .*spill, got .*; make room there, set XDG_CACHE_HOME to another disk, or/,
    );
    expect(spillRoom()).toBe(0);
    await expect(vae.decode(latents, shape, { tiling: { mode: "exact", hostBytes: 0 } })).rejects.toThrow(
      "[vae] hostBytes must be above 0, got 0",
    );
  });
});

/** Where a link of the system's points, if it is still there. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

test("the adapter holds the weights and a tile, however large the picture", async () => {
  const gpu = await testGpu();
  const config = configs.small;
  const budgetBytes = 40000;
  for (const width of [8, 32]) {
    using vae = CausalVae.create(gpu, config, weights(config));
    const shape = { batch: 1, frames: 2, height: 8, width };
    const latents = values(size(shape) * 5, 3);
    // Loads the weights.
    await vae.decode(latents.subarray(0, 40), { ...shape, height: 2, width: 2 }, { tiling: { mode: "exact", budgetBytes } });
    const before = gpu.memory.allocated;
    let most = 0;
    const original = gpu.buffer.bind(gpu);
    gpu.buffer = (...args) => {
      const made = original(...args);
      most = Math.max(most, gpu.memory.allocated - before);
      return made;
    };
    await vae.decode(latents, shape, { tiling: { mode: "exact", budgetBytes } });
    gpu.buffer = original;
    expect(most).toBeGreaterThan(budgetBytes / 8);
    expect(most, `${width} wide`).toBeLessThanOrEqual(1.3 * budgetBytes + 4096);
    expect(gpu.memory.allocated).toBe(before);
  }
});

test("1.5's decoder at its own 1360 × 768 is planned within the budget", async () => {
  const { caps } = await testGpu();
  const graph = vaeGraph(
    parseVaeConfig({}),
    { type: () => "f32" },
    { part: "decode", batch: 1, frames: 3, height: 96, width: 170, format: "rgba", dtype: "f32", continues: false, continued: true },
  );
  const plan = planExact(graph, { ...caps, maxBindingBytes: 2 ** 27 }, 512 << 20);
  expect(plan.deviceBytes).toBeLessThanOrEqual(512 << 20);
  // The convolutions' caches are most of it: two frames of each one's input.
  expect(plan.hostBytes / 1e9).toBeCloseTo(25.5, 0);
});

describe("what a tile must read is asked of the ops", () => {
  const caps = testGpu().then((gpu) => gpu.caps);
  const graph = () =>
    vaeGraph(
      configs.small,
      { type: () => "f32" },
      { part: "decode", batch: 1, frames: 2, height: 9, width: 3, format: "sample", dtype: "f32", continues: false, continued: false },
    );

  test("an op of another name is the same op", async () => {
    const plan = async () => {
      const { tiles, deviceBytes, flops } = planExact(graph(), await caps, 12000);
      return { tiles, deviceBytes, flops };
    };
    const want = await plan();
    const ops = [conv3dOp, groupNormStatsOp, groupNormMergeOp, causalCacheOp, channelsLastOp] as { name: string }[];
    const names = ops.map(({ name }) => name);
    try {
      for (const op of ops) op.name = `${op.name}_renamed`;
      expect(graph().nodes.some(({ name }) => name.includes("conv3d_renamed"))).toBe(true);
      expect(await plan()).toEqual(want);
    } finally {
      for (const [i, op] of ops.entries()) op.name = names[i]!;
    }
  });

  test("one that does not say is refused by name", async () => {
    const unknown = { ...siluOp, name: "blur" };
    const made = rewrite(graph(), {
      replace: (node, inputs, into) =>
        node.op === conv3dOp && node.name.includes("conv_out")
          ? into.record(node.op, { ...inputs, x: into.record(unknown, { x: inputs["x"]! }, { dtype: "f32" }).y }, node.attrs)
          : undefined,
    }).graph;
    await expect(async () => planExact(made, await caps, 12000)).rejects.toThrow(
      /^\[vae\] a picture can be cut where every op says what its results reach, got blur without it in decoder\.conv_out\.blur; /,
    );
  });
});

test("bad input is refused", async () => {
  using vae = CausalVae.create(await testGpu(), configs.small, weights(configs.small));
  const shape = { batch: 1, frames: 1, height: 4, width: 4 };
  const latents = new Float32Array(80);
  await expect(vae.decode(latents, shape, { tiling: "precise" as never })).rejects.toThrow(
    /\[vae\] tiling must be "exact", "reference", .*, got "precise"/,
  );
  await expect(vae.decode(latents, shape, { tiling: { mode: "exact", budgetBytes: 0 } })).rejects.toThrow(
    /budgetBytes must be above 0, got 0/,
  );
  await expect(vae.decode(latents, shape, { tiling: { mode: "exact", budgetBytes: 100 } })).rejects.toThrow(
    /the smallest tile of a 4 × 4 picture must fit its budget, got \d+ bytes and a budget of 100; raise budgetBytes/,
  );
  const [first, second] = [vae.decode(latents, shape), vae.decode(latents, shape)];
  await expect(second).rejects.toThrow(/a CausalVae runs one video at a time/);
  await first;
});
