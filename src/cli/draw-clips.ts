/**
 * `npm run draw-clips`: a folder of drawn clips with captions, to train the embedded model on what it never saw: stars, or shapes that move
 * diagonally.
 *
 *   npm run draw-clips -- FOLDER [--clips N] [--shape NAME] [--motion NAME] [--seed N]
 */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import type { World } from "../check/clip-attributes.ts";
import { captionOf, drawClip, MOTIONS, SHAPES } from "../check/moving-shapes.ts";
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
  .option("--shape <name>", `one of ${SHAPES.join(", ")}; default: any`)
  .option("--motion <name>", `one of ${MOTIONS.join(", ")}; default: any`)
  .option("--frames <n>", "of a clip", Number, 17)
  .option("--size <n>", "pixels of a side", Number, 64)
  .option("--seed <n>", "decides what is drawn", Number, 0)
  .parse();
const [folder] = program.args as [string];
const { clips, shape, motion, frames, size, seed } = program.opts<{
  clips: number;
  shape?: string;
  motion?: string;
  frames: number;
  size: number;
  seed: number;
}>();

const world = JSON.parse(await readFile(join(EMBEDDED_MODEL, "attributes.json"), "utf8")) as World;
await checkOutputFile(join(folder, "metadata.jsonl"), "the folder");
await mkdir(join(folder, "videos"), { recursive: true });
const lines: string[] = [];
for (let i = 0; i < clips; i++) {
  const draws = drawsOf(seed, "clip", i);
  const random = (): number => draws.uniform();
  const one = (of: readonly string[]): string => of[draws.below(of.length)]!;
  const combination = {
    colour: one(Object.keys(world.colours)),
    shape: shape ?? one(SHAPES),
    motion: motion ?? one(MOTIONS),
    background: one(Object.keys(world.backgrounds)),
  };
  const name = `videos/clip-${String(i + 1).padStart(4, "0")}.gif`;
  await encodeVideo(drawClip(combination, world, { frames, width: size, height: size, random }), { path: join(folder, name), fps: 8 });
  lines.push(JSON.stringify({ file_name: name, text: captionOf(combination), ...combination, width: size, height: size }));
}
await writeWhole(join(folder, "metadata.jsonl"), new TextEncoder().encode(`${lines.join("\n")}\n`), "the folder");
console.log(`${clips} clips of ${frames} frames, ${size}×${size} → ${folder}`);
