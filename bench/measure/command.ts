/** The command line as a user has it: reference cases before anything is timed, and the README's command by the clock. */
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { packageRoot } from "../../src/cli/package-root.ts";

const launcher = join(packageRoot, "dist", "launch.js");

async function run(args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [launcher, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const text = { out: "", err: "" };
  child.stdout.on("data", (data: Buffer) => {
    text.out += data.toString();
  });
  child.stderr.on("data", (data: Buffer) => {
    text.err += data.toString();
  });
  const code = await new Promise<number | null>((done) => child.on("close", done));
  return { code, ...text };
}

/** The modules that a kind of case is made of; ops are checked at the very case that is timed. */
const MODULES: Readonly<Record<string, readonly string[]>> = {
  block: ["CogVideoXBlock"],
  t5_block: ["T5EncoderModel"],
  vae_decoder: ["AutoencoderKLCogVideoX.decode"],
  pipeline: ["CogVideoXTransformer3DModel", "AutoencoderKLCogVideoX.decode", "T5EncoderModel", "CogVideoXDDIMScheduler"],
};

/** Runs the reference cases of those kinds; `bad` are the kinds that must not be timed. */
export async function checkModules(
  kinds: readonly string[],
  adapter: string,
  failures: string[],
): Promise<{ passed: string[]; bad: Set<string> }> {
  const passed: string[] = [];
  const bad = new Set<string>();
  const seen = new Map<string, boolean>();
  for (const kind of new Set(kinds)) {
    for (const module of MODULES[kind] ?? []) {
      if (!seen.has(module)) {
        const { code, out, err } = await run(["validate", join(packageRoot, "test", "reference", "cases", module), "--json"]);
        let summary = { pass: 0, fail: 0, cannotBeRun: 0 };
        try {
          ({ summary } = JSON.parse(out) as { summary: typeof summary });
        } catch {
          failures.push(`reference cases of ${module}: exit code ${code}, ${err.trim().split("\n").at(-1) ?? "no output"}`);
        }
        const right = summary.pass > 0 && summary.fail === 0;
        seen.set(module, right);
        if (right) passed.push(`${summary.pass} reference cases of ${module}`);
        else if (summary.fail)
          failures.push(`${summary.fail} reference cases of ${module} fail on ${adapter}; what it is part of was not timed`);
      }
      if (!seen.get(module)) bad.add(kind);
    }
  }
  return { passed: [...passed, "every op at the case that is timed, by its definition in float64"], bad };
}

/** The README's command, after the build, in a process of its own: wall time and peak memory. */
export async function readmeCommand(folder: string): Promise<{ seconds: number; peakMB: number }> {
  const video = join(folder, "readme.mp4");
  const start = performance.now();
  const { code, err } = await run(["generate", "a red circle moving left on a black background", "--seed", "1", "--out", video]);
  const seconds = (performance.now() - start) / 1000;
  if (code !== 0) throw new Error(`it must succeed, got exit code ${code}: ${err.trim().split("\n").at(-1)}`);
  await readFile(video);
  return { seconds, peakMB: Number(/peak resident memory (\d+) MB/.exec(err)?.[1] ?? NaN) };
}
