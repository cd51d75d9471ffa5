/** What of exact tiling's activations goes to a disk: no more than the host's memory has no room for. */
import { afterEach, expect, it } from "vitest";
import { rulesOf } from "../../src/pipelines/cogvideox/configs.ts";
import { parseConfigs } from "../../src/pipelines/cogvideox/components.ts";
import { stagesOf } from "../../src/pipelines/cogvideox/stages.ts";
import { hostRoom } from "../../src/pipelines/host-room.ts";
import type { StageMemory } from "../../src/pipelines/requirements.ts";
import { testGpu } from "../support/gpu.ts";
import { TINY_CONFIGS } from "../support/tiny-checkpoint.ts";

const stage = (total: number, host: number): StageMemory => ({
  stage: "decoder",
  weights: 0,
  streamed: 0,
  activations: total,
  io: 0,
  states: 0,
  slots: 0,
  total,
  peak: total,
  flops: 0,
  lowerBound: 0,
  host,
  choices: [],
});
const MB = 2 ** 20;
const before = process.env["XDG_CACHE_HOME"];
afterEach(() => {
  if (before === undefined) delete process.env["XDG_CACHE_HOME"];
  else process.env["XDG_CACHE_HOME"] = before;
});

it("is nothing where memory holds all, beside what an adapter that runs on the CPU takes of it", async () => {
  const { caps } = await testGpu();
  const [cpu, gpu] = [
    { ...caps, kind: "software" },
    { ...caps, kind: "hardware" },
  ] as const;
  const one = stage(100 * MB, 300 * MB);
  expect(hostRoom([one], cpu, 400 * MB)).toBeUndefined();
  expect(hostRoom([one], gpu, 300 * MB)).toBeUndefined();
  expect(hostRoom([one], cpu, 399 * MB)).toBe(192 * MB); // four fifths less 100, in steps of 64
  expect(hostRoom([one], gpu, 299 * MB)).toBe(192 * MB);
  expect(hostRoom([stage(0, 0), one], gpu, 250 * MB)).toBe(192 * MB);
});

it("is nothing where the disk has no room, so that the generation is refused", async () => {
  process.env["XDG_CACHE_HOME"] = "/dev/null/nowhere";
  expect(hostRoom([stage(0, 300 * MB)], (await testGpu()).caps, 200 * MB)).toBeUndefined();
});

it("is told of the stage that it is of", async () => {
  const { caps } = await testGpu();
  const configs = parseConfigs((part) => TINY_CONFIGS[part]);
  const model = {
    configs,
    dtype: "f32",
    rules: rulesOf(configs, "CogVideoXPipeline", "ddim"),
    files: { shape: () => undefined, format: () => undefined },
  } as const;
  const sizes = {
    denoise: { samples: 1, frames: 3, height: 6, width: 8, textLength: 12, guidance: false, stochastic: false },
    prompt: false,
    steps: false,
    encodedFrames: 0,
    decodedLatents: 3,
  };
  const decoder = (hostLimit?: number) =>
    stagesOf(model, sizes, "exact", { caps, limit: undefined, hostLimit, memo: new Map() }).stages[0]!.memory;
  const { host } = decoder();
  expect(decoder(host)).toEqual(decoder());
  expect(decoder(host - 1000)).toMatchObject({ host: host - 1000, spilled: 1000 });
});
