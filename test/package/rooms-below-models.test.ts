/** The engine below the models serves any of them: no room of it names one, its pipeline, its layers or its files. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const ROOMS = ["base", "files", "sources", "hub", "text", "gpu", "graph", "plan", "run", "ops", "checkpoint", "tuning/isolate.ts"];
const WORDS =
  /cogvideo|embed_tokens|shared\.weight|conv_cache|transformer_blocks|proj_out|spatial norm of the decoder|\b(2b|5b|1\.5-5b)\b/i;

const filesOf = (path: string): string[] =>
  path.endsWith(".ts")
    ? [path]
    : readdirSync(join(root, path), { withFileTypes: true }).flatMap((entry) =>
        entry.isDirectory() || entry.name.endsWith(".ts") ? filesOf(`${path}/${entry.name}`) : [],
      );

test.each(ROOMS)("src/%s knows no model", (room) => {
  const files = filesOf(`src/${room}`);
  expect(files.length).toBeGreaterThan(0);
  const named = files.flatMap((path) =>
    readFileSync(join(root, path), "utf8")
      .split("\n")
      .flatMap((line, i) => (WORDS.test(line.replace("[2B, …]", "")) ? [`${path}:${i + 1}: ${line.trim()}`] : [])),
  );
  expect(named).toEqual([]);
});
