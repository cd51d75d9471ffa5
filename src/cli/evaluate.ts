/**
 * `npm run evaluate`: scores the embedded checkpoint by what its clips show, on prompts that training never saw as
 * whole captions, with the very settings that `npm start` uses.
 *
 *   npm run evaluate -- [--model DIR] [--prompts N] [--lora FILE[:SCALE]] [--diagonal] [--ceiling] [--adapter NAME] [--json FILE]
 *
 * With --ceiling the clips are drawn, not generated, and go through the autoencoder and back: what no transformer can exceed.
 * With --lora it tells what an adapter does to these prompts; with --diagonal what it taught: 24 prompts of a motion that the checkpoint
 * never saw, right where the shape goes six pixels on both axes.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import { checkOutputFile, writeWhole } from "./files.ts";
import { lora } from "./flags.ts";
import { EMBEDDED_MODEL } from "./package-root.ts";
import { guardOutput } from "./terminal/output.ts";
import { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { LoraInput } from "../pipelines/lora-input.ts";
import { VideoVae } from "../pipelines/video-vae.ts";
import { drawsOf } from "../training/draws.ts";
import type { Frame } from "../video/frame.ts";
import { measure, travelOf, type Attributes, type World } from "../check/clip-attributes.ts";
import { captionOf, drawClip, SHAPES } from "../check/moving-shapes.ts";

interface Entry {
  prompt: string;
  colour: string;
  shape: string;
  motion: string;
  background: string;
  seed: number;
}
/** A motion that the checkpoint never saw, and how far it goes on both axes, in pixels. */
const DIAGONAL = "moving diagonally";
const LEAST_TRAVEL = 6;

/** 24 of the 54 combinations, spread over all of them. */
function diagonalPrompts({ colours, backgrounds }: World): Entry[] {
  const combinations = Object.keys(colours).flatMap((colour) =>
    SHAPES.filter((shape) => shape !== "star").flatMap((shape) =>
      Object.keys(backgrounds).map((background) => ({ colour, shape, background })),
    ),
  );
  return Array.from({ length: 24 }, (_, i) => {
    const combination = { ...combinations[Math.floor((i * combinations.length) / 24)]!, motion: DIAGONAL };
    return { ...combination, prompt: captionOf(combination), seed: 3000 + i };
  });
}

async function generated(model: CogVideoX, { prompt, seed }: Entry): Promise<readonly Frame[]> {
  return (await model.generate({ prompt, seed, cache: false, loras: options.lora ?? [] })).frames;
}

async function drawnAndBack(vae: VideoVae, entry: Entry): Promise<readonly Frame[]> {
  const draws = drawsOf(entry.seed, "ceiling", 0);
  const clip = drawClip(entry, world, { frames: 17, width: 64, height: 64, random: () => draws.uniform() });
  return await vae.decode(await vae.encode(clip));
}

const NAMES = ["background", "colour", "motion", "shape"] as const;

guardOutput();
const options = new Command("evaluate")
  .description("score the embedded checkpoint by what its clips show")
  .option("--model <dir>", "checkpoint folder with evaluation-prompts.json and attributes.json", EMBEDDED_MODEL)
  .option("--prompts <n>", "how many of the prompts", Number)
  .option("--lora <file[:scale]>", "adapter that is added to the checkpoint, with its strength (default 1)", lora)
  .option("--diagonal", "prompts of shapes that move diagonally, which the checkpoint never saw")
  .option("--ceiling", "clips that are drawn, through the autoencoder and back, in place of generated ones")
  .option("--adapter <name>", "adapter to run on", process.env["COGWHEEL_ADAPTER"])
  .option("--json <file>", "write scores and measurements there")
  .parse()
  .opts<{
    model: string;
    prompts?: number;
    lora?: readonly LoraInput[];
    diagonal?: true;
    ceiling?: true;
    adapter?: string;
    json?: string;
  }>();

if (options.json) await checkOutputFile(options.json, "--json");
const world = JSON.parse(await readFile(join(options.model, "attributes.json"), "utf8")) as World;
const all = options.diagonal
  ? diagonalPrompts(world)
  : (JSON.parse(await readFile(join(options.model, "evaluation-prompts.json"), "utf8")) as Entry[]);
const entries = all.slice(0, options.prompts);
const on = options.adapter ? { adapter: options.adapter } : {};
await using model = options.ceiling ? await VideoVae.open(options.model, on) : await CogVideoX.open(options.model, on);
const settings = model instanceof VideoVae ? { drawn: true } : model.defaults;
console.log(`${entries.length} prompts on ${model.gpu.name}: ${JSON.stringify(settings)}`);

const right: Record<string, number> = {};
const results: (Entry & { measured: Attributes })[] = [];
const start = performance.now();
for (const [i, entry] of entries.entries()) {
  const frames = await (model instanceof VideoVae ? drawnAndBack(model, entry) : generated(model, entry));
  const measured = measure(frames, world);
  // Both axes count, the measure's own motion is that of the longer one.
  const travel = options.diagonal && travelOf(frames);
  if (travel && Math.min(travel.dx, travel.dy) >= LEAST_TRAVEL) measured.motion = DIAGONAL;
  results.push({ ...entry, measured });
  const wrong = NAMES.filter((n) => measured[n] !== entry[n]);
  for (const n of NAMES) right[n] = (right[n] ?? 0) + +(measured[n] === entry[n]);
  console.log(
    `${String(i + 1).padStart(3)} ${entry.prompt}${wrong.length ? `  ✗ ${wrong.map((n) => `${n}: ${measured[n]}`).join(", ")}` : "  ✓"}`,
  );
}
const scores = Object.fromEntries(NAMES.map((n) => [n, (100 * (right[n] ?? 0)) / entries.length]));
console.log(
  `\n${NAMES.map((n) => `${n} ${scores[n]!.toFixed(1)} %`).join("   ")}   ` +
    `(${((performance.now() - start) / 1000 / entries.length).toFixed(1)} s a prompt)`,
);
if (options.json)
  await writeWhole(
    options.json,
    new TextEncoder().encode(JSON.stringify({ adapter: model.gpu.name, settings, scores, results }, null, 2)),
    "--json",
  );
