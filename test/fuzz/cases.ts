/**
 * Random reference cases of every module, made with the reference (Python: test/reference/fuzz.py) and run on the adapter. A case whose
 * configs the engine's predicates call legal must pass; any other must be refused by name, before anything is computed.
 *
 * The reference runs in the environment that `npm run reference` makes, or in the interpreter that COGWHEEL_PYTHON names. Files that pass
 * are removed, those that fail stay.
 */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { CogwheelError } from "../../src/base/errors.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { judgeT5Config } from "../../src/models/t5/config.ts";
import { judgeTransformerConfig } from "../../src/models/cogvideox/config.ts";
import { judgeVaeConfig } from "../../src/models/vae/config.ts";
import { readCase } from "../../src/check/reference/case.ts";
import type { ReferenceCase } from "../../src/check/reference/reference-case.ts";
import { complaint, runCase } from "../../src/check/reference/run.ts";
import { judgeSchedulerConfig } from "../../src/diffusion/config.ts";
import type { FuzzKind } from "./kind.ts";

type Json = Readonly<Record<string, unknown>>;

/** What the predicates say against a case's configs. */
function problemsOf({ module, config, inputs }: ReferenceCase): readonly string[] {
  const part = (name: string) => (config[name] ?? {}) as Json;
  if (/^(train\.)?CogVideoXTransformer3DModel$/.test(module)) return judgeTransformerConfig(config).problems;
  if (module === "CogVideoXBlock") return judgeTransformerConfig(config, "block").problems;
  if (module.startsWith("AutoencoderKLCogVideoX")) return judgeVaeConfig(config).problems;
  if (module === "T5EncoderModel") return judgeT5Config(config).problems;
  if (module.endsWith("Scheduler")) return judgeSchedulerConfig(config).problems;
  if (module.endsWith("Pipeline"))
    return [
      ...judgeTransformerConfig(part("transformer")).problems,
      ...judgeVaeConfig(part("vae")).problems,
      ...judgeSchedulerConfig(part("scheduler")).problems,
    ];
  // The kernel's own limit: a head of up to 128.
  const width = inputs.get("query")?.shape[3] ?? 0;
  return width > 128 ? ["the head width must be a multiple of 4 up to 128"] : [];
}

/** @param kind of the cases that fuzz.py makes */
const randomCases = (about: string, kind: "cases" | "gradients" | "training"): FuzzKind => ({
  about,
  count: 200,
  async run(options, tally) {
    const { seed, dtype, log } = options;
    const root = resolve(options.cases ?? options.keep);
    let folder = root;
    if (!options.cases) {
      await mkdir(root, { recursive: true });
      folder = await mkdtemp(join(root, `seed-${seed}-`));
      const which = options.index === undefined ? ["--count", String(options.count)] : ["--index", String(options.index)];
      log(`seed ${seed}: making cases in ${relative(".", folder)}`);
      const { status, error } = spawnSync(
        process.execPath,
        ["test/reference/run.mjs", "fuzz", "--out", folder, "--seed", String(seed), ...which, "--kind", kind],
        { stdio: ["ignore", "inherit", "inherit"] },
      );
      if (status !== 0)
        throw new CogwheelError(
          "fuzz",
          `test/reference/fuzz.py must make the cases, got ${error?.message ?? `exit code ${status}`}; see its message above`,
        );
    }

    await using gpu = await Gpu.open({
      ...(options.adapter ? { adapter: options.adapter } : {}),
      ...(options.kernels ? { capabilities: { kind: options.kernels === "gpu" ? "hardware" : "software" } } : {}),
    });
    if (dtype === "f16" && !gpu.caps.f16)
      throw new CogwheelError("fuzz", `--dtype f16 needs an adapter with shader-f16, got ${gpu.name}; name another with --adapter`);
    const files = (await readdir(folder, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile() && entry.name.endsWith(".safetensors"))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
    if (files.length === 0) throw new CogwheelError("fuzz", `${folder} must hold cases, got none; leave out --cases to make some`);
    let worst = { share: 0, name: "" };
    for (const file of files) {
      const name = `${basename(dirname(file))}/${basename(file, ".safetensors")}`;
      const c = await readCase(new Uint8Array(await readFile(file)), name);
      const problems = problemsOf(c);
      const result = await runCase(gpu, c, { dtype });
      const wrong = (why: string) =>
        tally.add(
          "silent wrong",
          name,
          `${why}\n    again: npm run fuzz -- ${kind} ${name.replace(/^.*_(\d+)_(\d+)$/, "--seed $1 --index $2")}\n    file: ` +
            ` ${relative(".", file)}\n    config: ${JSON.stringify(c.config)}\n    options: ${JSON.stringify(c.options)}`,
        );
      if (problems.length) {
        // Refused where it is read, with the predicate's own words.
        if (result.verdict === "cannot be run" && problems.every((problem) => result.error!.includes(problem))) {
          for (const problem of problems) tally.rule(problem);
          tally.add("refused", name);
        } else wrong(`must be refused for ${problems.join("; ")}, got ${result.verdict}: ${complaint(result)}`);
      } else if (result.verdict === "pass") {
        tally.add("read", name);
        for (const o of result.outputs) {
          const share = o.judged / (o.threshold || 1);
          if (share > worst.share) worst = { share, name: `${name} ${o.output}` };
        }
      } else wrong(complaint(result));
      if (!options.cases && !tally.faults.at(-1)?.includes(name)) await rm(file);
    }
    log(`${gpu.name}, ${dtype}: the nearest to its limit, ${worst.name}, takes ${(100 * worst.share).toFixed(0)} % of it`);
    if (!options.cases && tally.faults.length === 0) await rm(folder, { recursive: true });
  },
});

export const cases = randomCases(
  "random reference cases of every module, made with the reference (Python) and run on the adapter",
  "cases",
);

export const gradients = randomCases(
  "random reference cases of what is trained, with cotangents and gradients, made with torch and run on the adapter",
  "gradients",
);

export const training = randomCases("random training runs of a few steps, made with torch's AdamW and run on the adapter", "training");
