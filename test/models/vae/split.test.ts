/** A clip over workers, in time and in space: the bytes of one worker, and the values of no split, whoever holds which part. */
import { describe, expect, test } from "vitest";
import { bytesOf } from "../../../src/graph/dtype.ts";
import { conv3dOp } from "../../../src/ops/conv3d.ts";
import { groupNormStatsOp } from "../../../src/ops/group_norm_stats.ts";
import { vaeGraph, vaeGraphs, type VideoShape } from "../../../src/models/vae/batches.ts";
import { parseVaeConfig, type VaeConfig } from "../../../src/models/vae/config.ts";
import { CausalVae } from "../../../src/models/vae/model.ts";
import { type ClipRunner, runClip } from "../../../src/models/vae/split/clip.ts";
import { Board, localPeers, type Peer } from "../../../src/models/vae/split/peer.ts";
import { unitsOf } from "../../../src/models/vae/split/units.ts";
import type { WorkerReport } from "../../../src/models/vae/split/run.ts";
import { relativeL2, values } from "../../support/compare.ts";
import { memoryWeights, testGpu } from "../../support/gpu.ts";
import { smallVae, smallVaeWeights } from "../../support/small-vae.ts";

/** Time doubled once and twice, odd channels, a shortcut, groups of several channels. */
const configs = {
  small: smallVae(),
  deep: parseVaeConfig({
    block_out_channels: [6, 6, 12],
    latent_channels: 3,
    layers_per_block: 1,
    norm_num_groups: 3,
    temporal_compression_ratio: 4,
  }),
};
const weights = (config: VaeConfig, dtype: "f32" | "f16" = "f32") => memoryWeights(smallVaeWeights(config), dtype);
const size = ({ batch, frames, height, width }: VideoShape) => batch * frames * height * width;
type Case = [name: keyof typeof configs, shape: VideoShape, workers: number[]];

describe("gives the bytes of one worker, and the values without a split", () => {
  test.for<Case>([
    ["deep", { batch: 1, frames: 5, height: 3, width: 4 }, [2, 4]],
    ["small", { batch: 1, frames: 9, height: 2, width: 3 }, [2, 4]],
    ["small", { batch: 2, frames: 4, height: 3, width: 2 }, [3]],
    ["small", { batch: 1, frames: 1, height: 3, width: 4 }, []],
    ["small", { batch: 2, frames: 3, height: 5, width: 3 }, [3]],
  ])("decoding, %s %o over %o", async ([name, shape, counts]) => {
    const config = configs[name];
    using vae = CausalVae.create(await testGpu(), config, weights(config));
    const latents = values(size(shape) * config.latent_channels, 3);
    const plain = await vae.decode(latents, shape);
    const one = await vae.decode(latents, shape, { workers: 1 });
    expect(one.shape).toEqual(plain.shape);
    expect(relativeL2(one.data, plain.data)).toBeLessThan(1e-6);
    for (const workers of counts) expect((await vae.decode(latents, shape, { workers })).data, `${workers} workers`).toEqual(one.data);
  });

  test.for<Case>([
    ["deep", { batch: 1, frames: 17, height: 8, width: 12 }, [2, 3, 4]],
    ["deep", { batch: 1, frames: 33, height: 4, width: 8 }, [2, 3, 4]],
    ["deep", { batch: 2, frames: 10, height: 8, width: 4 }, [3]],
    ["small", { batch: 1, frames: 1, height: 6, width: 4 }, []],
    ["small", { batch: 1, frames: 11, height: 6, width: 4 }, [2, 6]],
  ])("encoding, %s %o over %o", async ([name, shape, counts]) => {
    const config = configs[name];
    using vae = CausalVae.create(await testGpu(), config, weights(config));
    const video = values(size(shape) * 3, 4);
    const plain = await vae.encode(video, shape);
    const one = await vae.encode(video, shape, { workers: 1 });
    expect(one.shape).toEqual(plain.shape);
    expect(relativeL2(one.mean, plain.mean)).toBeLessThan(1e-6);
    expect(relativeL2(one.logvar, plain.logvar)).toBeLessThan(1e-6);
    for (const workers of counts) {
      const split = await vae.encode(video, shape, { workers });
      expect(split.mean, `${workers} workers`).toEqual(one.mean);
      expect(split.logvar, `${workers} workers`).toEqual(one.logvar);
    }
  });
});

describe("in space gives the bytes of one worker too, and the values without a split", () => {
  test.for<Case>([
    ["deep", { batch: 1, frames: 5, height: 4, width: 3 }, [2, 3]],
    ["small", { batch: 2, frames: 3, height: 5, width: 3 }, [5]],
  ])("decoding, %s %o over %o", async ([name, shape, counts]) => {
    const config = configs[name];
    using vae = CausalVae.create(await testGpu(), config, weights(config));
    const latents = values(size(shape) * config.latent_channels, 3);
    const plain = await vae.decode(latents, shape);
    const one = await vae.decode(latents, shape, { workers: 1, split: "space" });
    expect(one.shape).toEqual(plain.shape);
    expect(relativeL2(one.data, plain.data)).toBeLessThan(1e-6);
    for (const workers of counts)
      expect(relativeL2((await vae.decode(latents, shape, { workers, split: "space" })).data, one.data), `${workers} workers`).toBe(0);
  });

  test.for<Case>([
    ["deep", { batch: 1, frames: 17, height: 16, width: 8 }, [2, 3, 4]],
    ["small", { batch: 2, frames: 11, height: 6, width: 4 }, [3]],
  ])("encoding, %s %o over %o", async ([name, shape, counts]) => {
    const config = configs[name];
    using vae = CausalVae.create(await testGpu(), config, weights(config));
    const video = values(size(shape) * 3, 4);
    const plain = await vae.encode(video, shape);
    const one = await vae.encode(video, shape, { workers: 1, split: "space" });
    expect(relativeL2(one.mean, plain.mean)).toBeLessThan(1e-6);
    for (const workers of counts) {
      const split = await vae.encode(video, shape, { workers, split: "space" });
      expect(split.mean, `${workers} workers`).toEqual(one.mean);
      expect(split.logvar, `${workers} workers`).toEqual(one.logvar);
    }
  });
});

describe("pieces of whole frame batches, taken in turn, give the same bytes", () => {
  test.for<[part: "decode" | "encode", name: keyof typeof configs, shape: VideoShape, cuts: [workers: number, pieceBatches: number][]]>([
    // Batches of 3, 2, 2, 2 and 2 latents; of 9, 8 and 8 frames.
    [
      "decode",
      "small",
      { batch: 1, frames: 11, height: 2, width: 3 },
      [
        [1, 1],
        [1, 2],
        [2, 1],
        [2, 2],
        [3, 1],
      ],
    ],
    [
      "decode",
      "deep",
      { batch: 2, frames: 8, height: 3, width: 2 },
      [
        [1, 3],
        [2, 1],
      ],
    ],
    [
      "encode",
      "deep",
      { batch: 1, frames: 25, height: 8, width: 4 },
      [
        [1, 1],
        [1, 2],
        [2, 1],
      ],
    ],
  ])("%s, %s %o", async ([part, name, shape, cuts]) => {
    const config = configs[name];
    using vae = CausalVae.create(await testGpu(), config, weights(config));
    const data = values(size(shape) * (part === "decode" ? config.latent_channels : 3), 3);
    let reports: readonly WorkerReport[] = [];
    const made = async (workers: number | ClipRunner): Promise<Float32Array> => {
      const options = { workers, onWorkers: (all: readonly WorkerReport[]) => (reports = all) };
      return part === "decode" ? (await vae.decode(data, shape, options)).data : (await vae.encode(data, shape, options)).mean;
    };
    const one = await made(1);
    const whole = reports[0]!;
    for (const [workers, pieceBatches] of cuts) {
      const cut = await made((clip, ...rest) => runClip(vae, workers, { ...clip, pieceBatches }, ...rest));
      expect(relativeL2(cut, one), `${workers} workers, ${pieceBatches}`).toBe(0);
      expect(reports.map(({ normBytes }) => normBytes)).toEqual(Array(workers).fill(0));
      // What a worker keeps for its own next turn is given to nobody.
      expect(reports.some(({ haloBytes }) => haloBytes > 0)).toBe(workers > 1);
      for (const { deviceBytes } of reports) expect(deviceBytes, `${workers} workers, ${pieceBatches}`).toBeLessThan(whole.deviceBytes);
    }
  });

  test("more batches than there are for a worker are refused", async () => {
    using vae = CausalVae.create(await testGpu(), configs.small, weights(configs.small));
    const shape = { batch: 1, frames: 5, height: 2, width: 2 };
    const cut = (workers: number, pieceBatches: number) =>
      vae.decode(values(size(shape) * configs.small.latent_channels, 3), shape, {
        workers: (clip, ...rest) => runClip(vae, workers, { ...clip, pieceBatches }, ...rest),
      });
    await expect(cut(2, 2)).rejects.toThrow(
      "[vae] pieces must have a whole number of frame batches, from 1 to 1 for this clip and 2 workers, got 2; use one of these",
    );
    await expect(cut(3, 1)).rejects.toThrow("got 1; use fewer workers");
  });
});

test("a split in space moves one row each way a convolution, and records of every norm", async () => {
  const config = configs.deep;
  using vae = CausalVae.create(await testGpu(), config, weights(config));
  const shape = { batch: 1, frames: 17, height: 16, width: 8 };
  const { graphs } = vaeGraphs(config, { type: () => "f32" }, { part: "encode", ...shape, format: "sample", dtype: "f32" });
  let [halo, record] = [0, 0];
  for (const { op, inputs, attrs } of graphs.flatMap(({ nodes }) => nodes)) {
    const { x, w } = inputs;
    // A stride of two reads one row below its own, and none above.
    const ways = (attrs as { stride?: readonly number[] }).stride?.[1] === 2 ? 1 : 2;
    if (op === conv3dOp && w!.shape.at(-1) === 3) halo += ways * x!.dim(1) * x!.dim(3) * w!.dim(1) * 4;
    if (op === groupNormStatsOp) record += x!.dim(1) * 3 * x!.dim(-1) * 4;
  }
  let reports: readonly WorkerReport[] = [];
  for (const workers of [2, 4]) {
    await vae.encode(values(size(shape) * 3, 4), shape, { workers, split: "space", onWorkers: (all) => (reports = all) });
    expect(reports.map(({ from, to }) => to - from)).toEqual(Array(workers).fill(4 / workers));
    expect(reports.reduce((n, { haloBytes }) => n + haloBytes, 0)).toBe((workers - 1) * halo);
    // Everybody tells everybody else of its rows of latents, four in all.
    expect(reports.reduce((n, { normBytes }) => n + normBytes, 0)).toBe(4 * record * (workers - 1));
  }
  await expect(vae.encode(values(size(shape) * 3, 4), shape, { workers: 5, split: "space" })).rejects.toThrow(
    "[vae] a picture is split in space into whole rows of latents, at most 4 for this one, got 5 workers; use up to 4",
  );
});

test("a clip's frames belong to its latent frames as the encoder pools and the decoder doubles them", () => {
  const frames = (part: "encode" | "decode", count: number) =>
    unitsOf(configs.deep, part, count).map(({ batch, start, frames, gives }) => [batch, start, frames, gives]);
  // Of an odd number the first is alone, each time that two become one.
  expect(frames("encode", 17)).toEqual([
    [0, 0, 1, 1],
    [0, 1, 4, 1],
    [0, 5, 4, 1],
    [1, 9, 4, 1],
    [1, 13, 4, 1],
  ]);
  expect(frames("encode", 10)).toEqual([
    [0, 0, 2, 1],
    [0, 2, 4, 1],
    [0, 6, 4, 1],
  ]);
  expect(frames("decode", 4).map(([, , , gives]) => gives)).toEqual([4, 4, 4, 4]);
  expect(frames("decode", 5).map(([batch, , , gives]) => [batch, gives])).toEqual([
    [0, 1],
    [0, 4],
    [0, 4],
    [1, 4],
    [1, 4],
  ]);
});

describe("what workers give each other", () => {
  /** By the graph of one frame of a batch: two frames of what every convolution over three reads, and a record of every norm. */
  function expected(config: VaeConfig, shape: VideoShape, dtype: "f32" | "f16") {
    const { nodes } = vaeGraph(
      config,
      { type: () => dtype },
      { part: "decode", ...shape, frames: 1, format: "sample", dtype, continues: false, continued: true },
    );
    let [halo, record] = [0, 0];
    for (const { op, inputs } of nodes) {
      const { x, w } = inputs;
      if (op === conv3dOp && w!.shape[2] === 3 && w!.shape.length === 5)
        halo += shape.batch * 2 * x!.dim(2) * x!.dim(3) * w!.dim(1) * bytesOf[x!.dtype];
      if (op === groupNormStatsOp) record += shape.batch * 3 * x!.dim(-1) * 4;
    }
    return { halo, record };
  }

  test("is two frames a convolution at each boundary, and records of norms where a frame batch is cut", async () => {
    const gpu = await testGpu();
    const config = configs.small;
    // Frame batches of 3, 2 and 2 latents.
    const shape = { batch: 1, frames: 7, height: 3, width: 4 };
    for (const dtype of gpu.caps.f16 ? (["f32", "f16"] as const) : (["f32"] as const)) {
      using vae = CausalVae.create(gpu, config, weights(config, dtype), { dtype });
      let reports: readonly WorkerReport[] = [];
      const latents = values(size(shape) * config.latent_channels, 3);
      const decode = (workers: number) => vae.decode(latents, shape, { workers, onWorkers: (all) => (reports = all) });
      const one = await decode(1);
      expect(reports.map(({ from, to, haloBytes, normBytes }) => ({ from, to, haloBytes, normBytes }))).toEqual([
        { from: 0, to: 7, haloBytes: 0, normBytes: 0 },
      ]);
      const alone = reports[0]!.deviceBytes;
      const { halo, record } = expected(config, shape, dtype);
      // 0 1 | 2 3 | 4 5 6: the first cut is in a batch of three, the second in one of two.
      expect((await decode(3)).data).toEqual(one.data);
      expect(reports.map(({ from, to, haloBytes, normBytes }) => ({ from, to, haloBytes, normBytes }))).toEqual([
        { from: 0, to: 2, haloBytes: halo, normBytes: 2 * record },
        { from: 2, to: 4, haloBytes: halo, normBytes: 2 * record },
        { from: 4, to: 7, haloBytes: 0, normBytes: record },
      ]);
      for (const { deviceBytes, seconds, waitingSeconds } of reports) {
        expect(deviceBytes).toBeLessThan(0.7 * alone);
        expect(waitingSeconds).toBeLessThanOrEqual(seconds);
      }
      // 0 1 2 | 3 4 5 6 is cut between batches.
      expect((await decode(2)).data).toEqual(one.data);
      expect(reports.map(({ haloBytes, normBytes }) => [haloBytes, normBytes])).toEqual([
        [halo, 0],
        [0, 0],
      ]);
    }
  });

  test("is put once and got once, in either order, and nobody waits for a worker that has ended", async () => {
    const board = new Board();
    const [a, b] = localPeers(2, board) as [Peer, Peer];
    const bytes = Uint8Array.of(1, 2, 3);
    const early = b.get(0, "x");
    await a.put(1, "x", bytes);
    expect(await early).toEqual(bytes);
    await a.put(1, "y", bytes);
    await expect(async () => a.put(1, "y", bytes)).rejects.toThrow('[vae] a region is put once, got "0 > 1 y" twice');
    expect(await b.get(0, "y")).toEqual(bytes);
    const controller = new AbortController();
    const stopped = b.get(0, "z", controller.signal);
    controller.abort(new Error("stopped"));
    await expect(stopped).rejects.toThrow("stopped");
    const waiting = a.get(1, "x");
    board.fail(new Error("worker 1 has ended"));
    await expect(waiting).rejects.toThrow("worker 1 has ended");
    await expect(b.get(0, "later")).rejects.toThrow("worker 1 has ended");
  });
});

describe("refuses, and stops", () => {
  const shape = { batch: 1, frames: 3, height: 2, width: 2 };
  const latents = values(size(shape) * 3, 3);
  const open = async () => CausalVae.create(await testGpu(), configs.deep, weights(configs.deep));

  test("more workers than latent frames, with the most; fewer than one; tiling and frames on the device", async () => {
    using vae = await open();
    await expect(vae.decode(latents, shape, { workers: 4 })).rejects.toThrow(
      "[vae] a clip is split in time into whole latent frames, at most 3 for this one, got 4 workers; use up to 3",
    );
    await expect(vae.encode(values(3 * 9 * 64, 1), { batch: 1, frames: 9, height: 8, width: 8 }, { workers: 4 })).rejects.toThrow(
      "at most 3",
    );
    for (const workers of [0, -1, 1.5, NaN])
      await expect(vae.decode(latents, shape, { workers })).rejects.toThrow(`workers must be a whole number from 1 up, got ${workers}`);
    for (const tiling of ["exact", "reference"] as const)
      await expect(vae.decode(latents, shape, { workers: 2, tiling })).rejects.toThrow("got workers and tiling; leave one of them out");
    await expect(vae.decode(latents, shape, { workers: 2, onDevice: () => undefined })).rejects.toThrow("got workers; leave it out");
  });

  test("all workers with an error of one or a signal, and works again", async () => {
    using vae = await open();
    const whole = await vae.decode(latents, shape, { workers: 3 });
    const controller = new AbortController();
    const stopped = vae.decode(latents, shape, {
      workers: 3,
      signal: controller.signal,
      onProgress: (done) => void (done > 0.3 && controller.abort(new Error("enough"))),
    });
    await expect(stopped).rejects.toThrow("enough");
    let left = 200;
    const broken = vae.decode(latents, shape, {
      workers: 3,
      observe() {
        if (--left < 0) throw new Error("a worker's own");
      },
    });
    await expect(broken).rejects.toThrow("a worker's own");
    expect((await vae.decode(latents, shape, { workers: 3 })).data).toEqual(whole.data);
  });

  test("frames in every format come in order", async () => {
    using vae = await open();
    const collect = async (options: object) => {
      const parts: { start: number; frames: number; data: Uint8Array | Float32Array }[] = [];
      await vae.decode(latents, shape, { ...options, format: "rgba", onFrames: (part) => void parts.push(part) });
      return parts;
    };
    const [one, three] = [await collect({ workers: 1 }), await collect({ workers: 3 })];
    expect(three.map(({ start, frames }) => [start, frames])).toEqual([
      [0, 1],
      [1, 4],
      [5, 4],
    ]);
    expect(three).toEqual(one);
  });
});
