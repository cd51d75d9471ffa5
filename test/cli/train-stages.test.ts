/** A run in stages as a user has it: killed within each and between them, planned, refused, and compared with a run of one stage. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { configOf } from "../../src/cli/train/config.ts";
import { stateOf } from "../support/kill.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { watched, type Ended } from "../support/watched.ts";

const launcher = resolve("dist/launch.js");
let folder: string;
let model: string;

/** Clips of three aspects, two of them pictures; the shorter side grows. */
const STAGES: readonly object[] = [
  { steps: 2, resolution: "32", frames: 1, batch: 1 },
  { steps: 2, resolution: "64", budget: 160, packWindow: 4, pictures: 0.5, lr: 1e-3 },
  { steps: 2, resolution: "96", budget: 260, packWindow: 4, lr: 5e-4, filter: "width >= 96" },
];

beforeAll(async () => {
  expect(spawnSync(process.execPath, ["build.mjs", "--if-stale"]).status).toBe(0);
  folder = await mkdtemp(join(tmpdir(), "cogwheel-stages-"));
  model = await tinyCheckpoint();
  for (const [name, seed] of [
    ["clips", 0],
    ["unseen", 1],
  ])
    draw(String(name), ["--clips", "7", "--pictures", "2", "--seed", String(seed)]);
}, 120_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await removeTinyCheckpoints();
});

function draw(name: string, args: readonly string[]): void {
  const sizes = ["--frames", "5", "--sizes", "96x96,128x96,96x144"];
  const drawn = spawnSync(process.execPath, ["dist/draw-clips.js", join(folder, name), ...sizes, ...args]);
  expect(drawn.status, String(drawn.stderr)).toBe(0);
}

async function begin(out: string, config: object, args: readonly string[] = []) {
  const path = join(folder, `${out}.json`);
  const common = { model, data: "clips", out, cache: "cache", rank: 4, frames: 5, checkpointEvery: 1 };
  await writeFile(path, JSON.stringify({ ...common, ...config }));
  return spawn(process.execPath, [launcher, "train", path, ...args], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: undefined, FORCE_COLOR: undefined, COGWHEEL_TUNING: "off" },
  });
}
const train = async (out: string, config: object, args: readonly string[] = []): Promise<Ended> =>
  await watched(await begin(out, config, args));

const at = (out: string, name: string): string => join(folder, out, name);
const linesOf = (path: string): string[] => (existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n").filter(Boolean) : []);
/** The step that a run goes on from; 0 without a checkpoint. */
function saved(out: string): number {
  const path = at(out, "checkpoint.safetensors");
  if (!existsSync(path)) return 0;
  const file = readFileSync(path);
  const header = JSON.parse(file.subarray(8, 8 + Number(file.readBigUInt64LE(0))).toString()) as {
    __metadata__: { cogwheel_training: string };
  };
  return (JSON.parse(header.__metadata__.cogwheel_training) as { progress: { step: number } }).progress.step;
}

describe("three stages on clips of mixed aspect", () => {
  const config = { stages: STAGES, heldOut: "unseen", heldOutEvery: 3 };

  it("killed within each stage and between them come to the same bytes", async () => {
    const whole = await train("whole", config);
    expect(whole.code, whole.err).toBe(0);
    expect(whole.out).toMatch(/stage 1: 7 clips of .*\nstage 2: 7 clips of .*\nstage 3: 7 clips of /);
    // Within a stage a step is done, and its checkpoint may be under way; between two the last step's checkpoint is there.
    for (const { step, between } of [1, 2, 3, 4, 5].map((step) => ({ step, between: step % 2 === 0 }))) {
      const child = await begin("killed", config);
      const ended = watched(child);
      const reached = (): boolean =>
        between ? saved("killed") >= step : linesOf(at("killed", "log.jsonl")).some((line) => line.includes(`"step":${step},`));
      while (!reached() && child.exitCode === null) await sleep(5);
      child.kill("SIGKILL");
      await ended;
      expect(child.signalCode).toBe("SIGKILL");
      if (between) expect(saved("killed")).toBe(step);
      else expect([step - 1, step]).toContain(saved("killed"));
    }
    const rest = await train("killed", config, ["--resume"]);
    expect(rest.code, rest.err).toBe(0);
    for (const name of ["checkpoint.safetensors", "pytorch_lora_weights.safetensors", "held-out.jsonl"])
      expect(stateOf(at("killed", name)), name).toBe(stateOf(at("whole", name)));
    const log = linesOf(at("killed", "log.jsonl")).map((line) => JSON.parse(line) as { step: number; stage: number });
    expect(log.map(({ step, stage }) => [step, stage])).toEqual([1, 2, 3, 4, 5, 6].map((step) => [step, Math.ceil(step / 2)]));
    const other = await train("killed", { ...config, stages: STAGES.map((stage, i) => (i === 1 ? { ...stage, pictures: 0.4 } : stage)) });
    expect(other.err).toMatch(/another stage 2: pictures \(0\.5 then, 0\.4 now\)/);
  }, 240_000);

  it("stand in the report, with what held-out clips lose, beside a run of the last stage alone", async () => {
    expect((await train("whole", config)).code).toBe(0);
    const alone = await train("alone", {
      ...{ steps: 3, resolution: "96", budget: 260, packWindow: 4 },
      ...{ heldOut: "unseen", heldOutEvery: 3, beside: "whole" },
    });
    expect(alone.code, alone.err).toBe(0);
    expect(alone.out).toMatch(/loss on held-out clips \d\.\d{4}/);
    const page = readFileSync(at("whole", "report.html"), "utf8");
    expect(page.match(/>stage 2, 64<\/text>/g)!.length).toBeGreaterThan(5);
    const [, beside] = /<h2>loss on held-out clips, by work<\/h2>(.*?)<\/section>/s.exec(readFileSync(at("alone", "report.html"), "utf8"))!;
    const points = [...beside!.matchAll(/points="([^"]*)"/g)].map(([, list]) => list!.split(" ").length);
    expect(points).toEqual([2, 3]);
    expect(beside).toContain("the run beside");
  }, 120_000);

  it("are planned, each by its packs or batches", async () => {
    const planned = await train("plan", config, ["--plan", "--json"]);
    expect(planned.code, planned.err).toBe(0);
    const plan = JSON.parse(planned.out) as { steps: number; peak: number; stages: { peak: number; shape: object; steps: number }[] };
    expect(plan.steps).toBe(6);
    expect(plan.stages.map(({ shape }) => ("rows" in shape ? shape.rows : shape))).toEqual([
      { clips: 1, frames: 1, height: 4, width: 8, textLength: 12 },
      160,
      260,
    ]);
    expect(plan.peak).toBe(Math.max(...plan.stages.map(({ peak }) => peak)));
    expect(existsSync(at("plan", ""))).toBe(false);
    expect((await train("plan", config, ["--plan"])).out).toMatch(/stage 3 of 3: packs of 260 tokens.*as much work as \d+ steps/s);
  }, 60_000);
});

it("packs have the run's options, and a stage its own", () => {
  const { options } = configOf({
    ...{ data: "clips", out: "x", budget: 90, packClips: 3, packRope: "pipeline", packAverage: "token" },
    stages: [{ steps: 1 }, { steps: 1, budget: 80, packWindow: 7, packAverage: "clip" }, { steps: 1, batch: 2 }],
  });
  expect(options.stages).toEqual([
    { steps: 1, packing: { budget: 90, clips: 3, rope: "pipeline", average: "token" } },
    { steps: 1, packing: { budget: 80, clips: 3, window: 7, rope: "pipeline", average: "clip" } },
    { steps: 1, batch: 2 },
  ]);
  expect(() => configOf({ data: "clips", out: "x", packRope: "prefix" })).toThrow(/packs are made with a budget, got packRope with it/);
});

describe("refused", () => {
  it("a stage of another size, or packs, for a model that learned its positions", async () => {
    const learned = await tinyCheckpoint({
      pipeline: "CogVideoXImageToVideoPipeline",
      configs: { transformer: { use_learned_positional_embeddings: true, in_channels: 8 } },
    });
    const plan = (stage: object): Promise<Ended> =>
      train("learned", { model: learned, stages: [{ steps: 1 }, { steps: 1, ...stage }] }, ["--plan"]);
    expect((await plan({ resolution: "64" })).err).toContain("stage 2: this model learned its positions for 32x16 and takes no other size");
    const little = await train("learned", { model, memory: 1000, stages: [{ steps: 1 }] }, ["--plan"]);
    expect(little.code).toBe(4);
    expect(little.err).toContain("[train] stage 1: a step must fit the memory that is given, got 1000 bytes where it takes at least");
    expect((await plan({ budget: 99 })).err).toContain("stage 2: learned positions fix a model to one size, got a budget of packs");
  }, 60_000);

  it.each<[object, string]>([
    [{ stages: [] }, "stages must be a list of 1 to 100 stages"],
    [
      { stages: [{ steps: 1, resolutoin: "64" }] },
      'stage 1: a key must be one of those in docs/training.md, got "resolutoin"; the nearest is resolution',
    ],
    [{ stages: [{ steps: 1, rank: 4 }] }, 'stage 1: a key must be one of those in docs/training.md, got "rank"'],
    [{ stages: [{ resolution: "64" }] }, "stage 1: steps must be given, got none"],
    [{ steps: 4, stages: [{ steps: 4 }] }, "a run in stages has their steps, got steps with it; leave it out"],
    [
      { stages: [{ steps: 1 }, { steps: 1, batch: 2, budget: 99 }] },
      "stage 2: clips are packed by a budget or in batches of one size, got batch",
    ],
    [{ warmup: 3, stages: [{ steps: 4 }, { steps: 3 }] }, "stage 2: the warm-up must be shorter than the stage, got 3 of 3 steps"],
    [
      { stages: [{ steps: 1 }, { steps: 1, resolution: "50" }] },
      "stage 2: a side must be a multiple of 16 pixels, got 50; the nearest is 48",
    ],
    [{ stages: [{ steps: 1, filter: "width > 900" }] }, "a filter must leave clips to learn from, got none of 7"],
    [{ stages: [{ steps: 1, frames: 1, pictures: 0.5, resolution: "32" }] }, "takes films and pictures, got 0 films and 7 pictures"],
    [
      { stages: [{ steps: 1, resolution: "32", budget: 20 }] },
      "stage 1: a budget must hold the largest clip, got 20 tokens where videos/clip-0002.gif takes 24; raise it to 24 at least",
    ],
    [{ steps: 1, resolution: "32", frames: 1, beside: "x" }, "runs are compared by their loss on held-out clips: heldOut, got beside"],
    [{ steps: 1, resolution: "32", frames: 1, heldOut: "clips" }, "held-out clips must not be learned from, got videos/clip-0001.gif"],
    [
      { steps: 1, resolution: "32", frames: 1, heldOut: "unseen", beside: "none" },
      "beside must be the folder of a run with held-out clips",
    ],
  ])(
    "%j",
    async (config, want) => {
      const ended = await train("refused", config);
      expect(ended.code, ended.err).toBe(2);
      expect(ended.err).toContain(want);
    },
    60_000,
  );
});
