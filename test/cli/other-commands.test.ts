/** The commands beside generate as a user has them: dist/launch.js in processes of its own, with a tiny checkpoint. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cp } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { howText } from "../../src/cli/stage-table.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import type { StageMemory } from "../../src/pipelines/requirements.ts";
import { useCommand } from "../support/command.ts";
import { removeTinyCheckpoints, tinyCheckpoint } from "../support/tiny-checkpoint.ts";

const { folder, run: cogwheel } = useCommand();
let model: string;
beforeAll(async () => {
  model = await tinyCheckpoint();
});
afterAll(removeTinyCheckpoints);

const files = () => readdirSync(folder, { recursive: true }).map(String).sort();
const lines = (text: string) => text.trimEnd().split("\n");

it("inspect tells what a checkpoint holds and needs, as a table and as JSON", async () => {
  const table = await cogwheel(["inspect", model, "--frames", "17", "--weights"]);
  expect(table.code, table.err).toBe(0);
  expect(table.out).toMatch(/^transformer +CogVideoXTransformer3DModel +1 +40 +22,992 +F32 +0\.1 MB$/m);
  expect(table.out).toMatch(/^proj_out\.weight +F32 +\[16, 32\]$/m);
  expect(table.out).toMatch(/^decoder +[\d.]+ MB +[\d.]+ MB/m);
  const json = JSON.parse((await cogwheel(["inspect", model, "--frames", "17", "--json"])).out);
  expect(json).toMatchObject({
    class: "CogVideoXPipeline",
    settings: { frames: 17, height: 16, width: 32 },
    configs: { transformer: { num_layers: 1 } },
  });
  expect(json.requirements.map((r: { stage: string }) => r.stage)).toEqual(["text encoder", "transformer", "decoder"]);
  expect((await cogwheel(["inspect", folder])).code).toBe(3);
});

it("inspect and generate --plan tell how a generation keeps within a limit of memory", async () => {
  const { out } = await cogwheel(["inspect", model, "--frames", "17", "--memory", "100kB,1MB,1GB"]);
  expect(out).toMatch(/^ *memory +takes at most +text encoder +transformer +decoder +read in a step$/m);
  expect(out).toMatch(/^ *0\.1 MB +does not fit: the least is [\d.]+ MB$/m);
  expect(out).toMatch(/^ *1\.00 GB +[\d.]+ MB +whole +whole +whole +none$/m);
  const json = JSON.parse((await cogwheel(["inspect", model, "--frames", "17", "--memory", "100kB,1GB", "--json"])).out);
  expect(json.limits).toMatchObject([
    { memoryBytes: 1e5, fits: false },
    { memoryBytes: 1e9, fits: true },
  ]);
  expect(json.leastMemoryBytes).toBeGreaterThan(1e5);
  expect(json.limits[1].stages).toEqual(json.requirements);

  const decoder = { stage: "decoder", host: 9e6, spilled: 0, peak: 4e7 } as StageMemory;
  const tiled = [2e6, 2 ** 29].map((tileBytes) => howText({ ...decoder, tileBytes }));
  expect(tiled, "a tile takes no more than the stage").toEqual(["tiles of 2 MB, host 9.0 MB", "tiles of 40 MB, host 9.0 MB"]);

  const before = files();
  const plan = ["generate", "a red circle", "--model", model, "--seed", "3", "--plan"];
  expect((await cogwheel([...plan, "--memory", "1GB"])).out).toMatch(/^Planned within 1\.00 GB of the adapter's memory\.$/m);
  const planned = JSON.parse((await cogwheel([...plan, "--json"])).out);
  expect(planned).toMatchObject({ seed: 3, task: "text", tiling: "none", memoryBytes: null });
  expect(planned.requirements).toEqual(JSON.parse((await cogwheel(["inspect", model, "--json"])).out).requirements);
  const refused = await cogwheel([...plan, "--memory", "100kB"]);
  expect(refused.code).toBe(4);
  expect(refused.err).toMatch(/the smallest that would do is [\d.]+ MB/);
  expect(files(), "nothing is made").toEqual(before);
});

it("generate --json prints one object of what was made", async () => {
  const path = join(folder, "told.png");
  const { code, out } = await cogwheel([
    "generate",
    "a red circle",
    "--model",
    model,
    "--frames",
    "1",
    "--steps",
    "1",
    "--json",
    "--out",
    path,
  ]);
  expect(code).toBe(0);
  const told = JSON.parse(out);
  expect(told).toMatchObject({ settings: { frames: 1, steps: 1 }, files: [path], latents: null });
  expect(Object.keys(told.seconds)).toEqual(expect.arrayContaining(["load transformer", "denoise", "decode"]));
  expect(told.peakBytes).toBeGreaterThan(0);
  expect(told.peakBytes).toBeLessThanOrEqual(Math.max(...told.requirements.map(({ peak }: { peak: number }) => peak)));
});

it("adapters lists what --adapter takes, the default first", async () => {
  const { code, out } = await cogwheel(["adapters"]);
  expect(code).toBe(0);
  expect(lines(out)[2]).toContain("(default)");
  const json = JSON.parse((await cogwheel(["adapters", "--json"])).out) as { select: string; name: string; kind: string }[];
  expect(json.length).toBeGreaterThan(0);
  for (const { select, name, kind } of json)
    expect([typeof select, typeof name, /hardware|software/.test(kind)]).toEqual(["string", "string", true]);
});

it("doctor says what is here, and whether the engine computes right", { timeout: 300_000 }, async () => {
  const { code, out, err } = await cogwheel(["doctor", "--no-models", "--report", "doctor.json"], {
    XDG_CACHE_HOME: join(folder, "cache"), // nothing is kept but what the driver compiled
    MESA_SHADER_CACHE_DIR: process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"),
    COGWHEEL_TUNING: undefined,
  });
  expect(code, err).toBe(0);
  expect(out).toMatch(/^Cogwheel \d/);
  expect(err).toMatch(/^Reference cases: .*; --no-cases leaves it out\.$/m);
  expect(out).toMatch(/✓ f32: (\d+) of \1 reference cases pass\n/);
  expect(out).toMatch(/✓ speed: up to \d+ GFLOP\/s and [\d.]+ GB\/s; the embedded model makes 64×64, 17 frames in about [\d.]+ s\n/);
  expect(out).toMatch(/is right here\.\nReport: doctor\.json\n$/);
  const told = JSON.parse(readFileSync(join(folder, "doctor.json"), "utf8")) as {
    reference: { f32: { cases: { module: string }[] } };
    speed: { gflops: number; seconds: number };
  };
  expect(told.speed.gflops).toBeGreaterThan(0);
  expect(told.speed.seconds).toBeGreaterThan(0);
  expect(new Set(told.reference.f32.cases.map(({ module }) => module)).size).toBeGreaterThan(20);
});

it("doctor leaves out what it is told to, and says what was not asked", async () => {
  const { code, out, err } = await cogwheel(["doctor", "--no-cases", "--no-models"], { COGWHEEL_TUNING: "off" });
  expect([code, err]).toEqual([0, ""]);
  expect(out).not.toMatch(/reference cases|right here/);
  expect(out).toMatch(/^Whether it computes right was not asked \(--no-cases\)\.\n$/m);
});

it("validate passes a case, fails a corrupted one, and goes on past what is broken or unknown", async () => {
  const cases = resolve(import.meta.dirname, "../reference/cases");
  const good = join(cases, "T5Tokenizer/t5.safetensors");
  expect((await cogwheel(["validate", good])).code).toBe(0);
  const place = join(folder, "cases");
  await cp(join(cases, "CogVideoXSpatialNorm3D/1frame.safetensors"), join(place, "changed.safetensors"));
  await cp(good, join(place, "good.safetensors"));
  const bytes = readFileSync(join(place, "changed.safetensors"));
  const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString()) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  const output = Object.keys(header).find((name) => name.startsWith("output."))!;
  bytes.writeFloatLE(1e3, 8 + Number(bytes.readBigUInt64LE(0)) + header[output]!.data_offsets[0]);
  writeFileSync(join(place, "changed.safetensors"), bytes);
  writeFileSync(join(place, "torn.safetensors"), bytes.subarray(0, 1000));
  writeFileSync(
    join(place, "unknown.safetensors"),
    writeSafetensors(
      { "output.y": { dtype: "F32", shape: [1], data: Float32Array.of(1) } },
      { format: "reference-case/1", module: "Mystery", config: "{}", options: "{}", source: "here" },
    ),
  );
  const { code, out } = await cogwheel(["validate", place]);
  expect(code).toBe(1);
  expect(out).toMatch(/^changed +CogVideoXSpatialNorm3D .*FAIL \(/m);
  expect(out).toMatch(/^good +T5Tokenizer .*pass$/m);
  expect(out).toMatch(/^torn: cannot be run: \[checkpoint\] /m);
  expect(out).toMatch(/^unknown: unsupported: module Mystery is not supported; /m);
  expect(out).toMatch(/^4 cases: 1 pass, 1 fail, 1 unsupported, 1 cannot be run$/m);
});

it("--help everywhere, --version, and an unknown command's options are refused", async () => {
  for (const command of [[], ["generate"], ["validate"], ["inspect"], ["adapters"]]) {
    const { code, out } = await cogwheel([...command, "--help"]);
    expect(code).toBe(0);
    expect(out).toMatch(/^Usage: node \S+launch\.js /);
  }
  expect((await cogwheel(["--version"])).out.trim()).toBe(
    JSON.parse(readFileSync(resolve(import.meta.dirname, "../../package.json"), "utf8")).version,
  );
  expect((await cogwheel(["inspect", "--bogus"])).code).toBe(2);
  expect(existsSync(join(folder, "outputs")), "no command made the default folder").toBe(false);
});
