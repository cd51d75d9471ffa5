/**
 * `npm run draw-clips`: a folder of drawn clips with captions, to train the embedded model on what it never saw: stars, or shapes that move
 * diagonally.
 *
 *   npm run draw-clips -- FOLDER [--clips N] [--shape NAME] [--motion NAME] [--sizes 96x96,128x96] [--pictures N] [--without FILE]
 *       [--seed N]
 */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import { CogwheelError } from "../base/errors.ts";
import type { World } from "../check/clip-attributes.ts";
import { CAPTION_FORMS, captionOf, drawClip, MOTIONS, SHAPES } from "../check/moving-shapes.ts";
import { drawsOf } from "../training/draws.ts";
import { encodeVideo } from "../video/encode.ts";
import { checkOutputFile, writeWhole } from "./files.ts";
import { EMBEDDED_MODEL } from "./package-root.ts";
import { guardOutput } from "./terminal/output.ts";

guardOutput();
const program = new Command("draw-clips")
  .description("draw clips of moving shapes, with captions, to train on")
  .argument("<folder>", "where metadata.jsonl and videos/ are written")
  .option("--clips <n>", "how many", Number, 48)
  .option("--shape <list>", `of ${SHAPES.join(", ")}; default: any`)
  .option("--motion <list>", `of ${MOTIONS.join(", ")}; default: any`)
  .option("--frames <n>", "of a clip", Number, 17)
  .option("--size <n>", "pixels of a side", Number, 64)
  .option("--sizes <list>", "WIDTHxHEIGHT of clips in turn, such as 96x96,128x96; default: squares of --size")
  .option("--pictures <n>", "how many of them, the last ones, are pictures", Number, 0)
  .option("--without <file>", "list of prompts, such as evaluation-prompts.json, whose combinations are not drawn")
  .option("--forms", "captions in every form that the embedded checkpoint learned from; default: the prompts' form alone")
  .option("--seed <n>", "decides what is drawn", Number, 0)
  .parse();
const [folder] = program.args as [string];
const {
  clips,
  shape,
  motion,
  frames,
  size,
  sizes = `${size}x${size}`,
  pictures,
  without,
  forms,
  seed,
} = program.opts<{
  clips: number;
  shape?: string;
  motion?: string;
  frames: number;
  size: number;
  sizes?: string;
  pictures: number;
  without?: string;
  forms?: true;
  seed: number;
}>();

const inTurn = sizes.split(",").map((text) => {
  const [, width, height] = /^(\d+)x(\d+)$/.exec(text) ?? [];
  if (width === undefined || height === undefined)
    throw new CogwheelError("draw-clips", `sizes must be WIDTHxHEIGHT, got ${JSON.stringify(text)}; such as 96x96,128x96`);
  return { width: Number(width), height: Number(height) };
});
const world = JSON.parse(await readFile(join(EMBEDDED_MODEL, "attributes.json"), "utf8")) as World;
const excluded = new Set(without === undefined ? [] : await promptsOf(without));
await checkOutputFile(join(folder, "metadata.jsonl"), "the folder");
await mkdir(join(folder, "videos"), { recursive: true });
const lines: string[] = [];
for (let i = 0; i < clips; i++) {
  const draws = drawsOf(seed, "clip", i);
  const random = (): number => draws.uniform();
  const one = (of: readonly string[]): string => of[draws.below(of.length)]!;
  const draw = () => ({
    colour: one(Object.keys(world.colours)),
    shape: one(shape?.split(",") ?? SHAPES),
    motion: one(motion?.split(",") ?? MOTIONS),
    background: one(Object.keys(world.backgrounds)),
  });
  let combination = draw();
  for (let tries = 1; excluded.has(captionOf(combination)); tries++) {
    if (tries === 1000)
      throw new CogwheelError("draw-clips", `--without must leave a combination to draw, got none in 1,000 draws; name another list`);
    combination = draw();
  }
  const isPicture = i >= clips - pictures;
  const name = `videos/clip-${String(i + 1).padStart(4, "0")}.${isPicture ? "png" : "gif"}`;
  const of = inTurn[i % inTurn.length]!;
  const drawn = drawClip(combination, world, { frames: isPicture ? 1 : frames, ...of, random });
  const textOf = forms ? CAPTION_FORMS[draws.below(CAPTION_FORMS.length)]! : captionOf;
  await encodeVideo(drawn, { path: join(folder, name), fps: isPicture ? 1 : 8 });
  lines.push(JSON.stringify({ file_name: name, text: textOf(combination), ...combination, ...of }));
}
await writeWhole(join(folder, "metadata.jsonl"), new TextEncoder().encode(`${lines.join("\n")}\n`), "the folder");
console.log(`${clips} clips of ${frames} frames, ${inTurn.map(({ width, height }) => `${width}×${height}`).join(", ")} → ${folder}`);

async function promptsOf(path: string): Promise<string[]> {
  const list: unknown = JSON.parse(await readFile(path, "utf8").catch(() => "null"));
  if (
    !Array.isArray(list) ||
    !list.every((one): one is { prompt: string } => typeof (one as { prompt?: unknown } | null)?.prompt === "string")
  )
    throw new CogwheelError(
      "draw-clips",
      `--without must be a JSON list of {"prompt"}, got ${path}; such as models/moving-shapes/evaluation-prompts.json`,
    );
  return list.map(({ prompt }) => prompt);
}
