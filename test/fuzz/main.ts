/**
 * `npm run fuzz`: random reference cases of every module, made with the reference (Python: test/reference/fuzz.py) and run on the adapter.
 * A case whose configs the engine's predicates call legal must pass; any other must be refused by name, before anything is computed.
 *
 *   npm run fuzz                                  200 cases of a new seed
 *   npm run fuzz -- --count 1000 --seed 7         more, of a seed of one's own
 *   npm run fuzz -- --seed 7 --index 31           one of them again
 *   npm run fuzz -- --dtype f16 --adapter lavapipe --kernels gpu     as in `cogwheel validate`
 *   npm run fuzz -- --cases DIR                   the files of an earlier run, without making any
 *
 * The reference runs in the environment that `npm run reference` makes, or in the interpreter that COGWHEEL_PYTHON names. Files go to
 * test/reference/cases-fuzz/ (or --out DIR); those that pass are removed, those that fail stay. Exit code 0 when nothing failed.
 */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { Command } from "commander";
import { CogwheelError } from "../../src/errors.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { judgeT5Config } from "../../src/models/t5/config.ts";
import { judgeTransformerConfig } from "../../src/models/transformer/config.ts";
import { judgeVaeConfig } from "../../src/models/vae/config.ts";
import { readCase } from "../../src/reference/case.ts";
import type { ReferenceCase } from "../../src/reference/module.ts";
import { complaint, runCase } from "../../src/reference/run.ts";
import { judgeSchedulerConfig } from "../../src/schedulers/config.ts";

type Json = Readonly<Record<string, unknown>>;

/** What the predicates say against a case's configs. */
function problemsOf({ module, config, inputs }: ReferenceCase): readonly string[] {
  const part = (name: string) => (config[name] ?? {}) as Json;
  if (module === "CogVideoXTransformer3DModel") return judgeTransformerConfig(config).problems;
  if (module === "CogVideoXBlock") return judgeTransformerConfig(config, "block").problems;
  if (module.startsWith("AutoencoderKLCogVideoX")) return judgeVaeConfig(config).problems;
  if (module === "T5EncoderModel") return judgeT5Config(config).problems;
  if (module.endsWith("Scheduler")) return judgeSchedulerConfig(config).problems;
  if (module.endsWith("Pipeline")) return [...judgeTransformerConfig(part("transformer")).problems, ...judgeVaeConfig(part("vae")).problems, ...judgeSchedulerConfig(part("scheduler")).problems];
  // The kernel's own limit: a head of up to 128.
  const width = inputs.get("query")?.shape[3] ?? 0;
  return width > 128 ? ["the head width must be a multiple of 4 up to 128"] : [];
}

const values = new Command("fuzz")
  .description("random reference cases of every module, made with the reference and run on the adapter")
  .option("--count <n>", "how many", "200")
  .option("--seed <n>", "of the draws (default: a new one)")
  .option("--index <n>", "one case of a seed again")
  .option("--out <folder>", "where the files go (default: test/reference/cases-fuzz)")
  .option("--cases <folder>", "the files of an earlier run, without making any")
  .option("--adapter <name>", "adapter to run on")
  .option("--dtype <type>", "f32 or f16", "f32")
  .option("--kernels <kind>", "gpu or cpu: those of the other kind of adapter")
  .parse()
  .opts<{ count: string; dtype: string } & { [K in "seed" | "index" | "out" | "cases" | "adapter" | "kernels"]?: string }>();
const seed = values.seed ?? String(Math.floor(Math.random() * 1e6));
const { dtype } = values;
if (dtype !== "f32" && dtype !== "f16") throw new CogwheelError("fuzz", `--dtype must be f32 or f16, got ${dtype}`);
if (values.kernels !== undefined && values.kernels !== "gpu" && values.kernels !== "cpu") throw new CogwheelError("fuzz", `--kernels must be gpu or cpu, got ${values.kernels}`);

const root = resolve(values.cases ?? values.out ?? "test/reference/cases-fuzz");
let folder = root;
if (!values.cases) {
  await mkdir(root, { recursive: true });
  folder = await mkdtemp(join(root, `seed-${seed}-`));
  const which = values.index === undefined ? ["--count", values.count] : ["--index", values.index];
  console.log(`seed ${seed}: making cases in ${relative(".", folder)}`);
  const { status, error } = spawnSync(process.execPath, ["test/reference/run.mjs", "fuzz", "--out", folder, "--seed", seed, ...which], { stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) throw new CogwheelError("fuzz", `test/reference/fuzz.py must make the cases, got ${error?.message ?? `exit code ${status}`}; see its message above`);
}

await using gpu = await Gpu.open({ ...(values.adapter ? { adapter: values.adapter } : {}), ...(values.kernels ? { capabilities: { kind: values.kernels === "gpu" ? "hardware" : "software" } } : {}) });
if (dtype === "f16" && !gpu.caps.f16) throw new CogwheelError("fuzz", `--dtype f16 needs an adapter with shader-f16, got ${gpu.name}; name another with --adapter`);
const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile() && entry.name.endsWith(".safetensors")).map((entry) => join(entry.parentPath, entry.name)).sort();
const refused = new Map<string, number>();
let passed = 0;
let worst = { share: 0, name: "" };
const failed: string[] = [];
for (const file of files) {
  const name = `${basename(dirname(file))}/${basename(file, ".safetensors")}`;
  const c = await readCase(new Uint8Array(await readFile(file)), name);
  const problems = problemsOf(c);
  const result = await runCase(gpu, c, { dtype });
  const fail = (why: string) => failed.push(`${why}\n    again: npm run fuzz -- ${name.replace(/^.*fuzz_(\d+)_(\d+)$/, "--seed $1 --index $2")}\n    file:  ${relative(".", file)}\n    config: ${JSON.stringify(c.config)}\n    options: ${JSON.stringify(c.options)}`);
  if (problems.length) {
    // Refused where it is read, with the predicate's own words.
    if (result.verdict === "cannot be run" && problems.every((problem) => result.error!.includes(problem))) {
      for (const problem of problems) refused.set(problem.replace(/, got .*/s, ""), (refused.get(problem.replace(/, got .*/s, "")) ?? 0) + 1);
      if (!values.cases) await rm(file);
    } else fail(`${name}: must be refused for ${problems.join("; ")}, got ${result.verdict}: ${complaint(result)}`);
  } else if (result.verdict === "pass") {
    passed++;
    for (const o of result.outputs) {
      const share = (o.measure === "relative L2" ? (o.relativeL2 ?? o.maxAbs) : o.maxAbs) / (o.threshold || 1);
      if (share > worst.share) worst = { share, name: `${name} ${o.output}` };
    }
    if (!values.cases) await rm(file);
  } else fail(complaint(result));
}
for (const text of failed) console.log(`\nFAIL ${text}`);
console.log(`\n${gpu.name}, ${dtype}: ${files.length} cases, ${passed} pass (the nearest to its limit, ${worst.name}, takes ${(100 * worst.share).toFixed(0)} % of it), ${files.length - passed - failed.length} refused by name, ${failed.length} fail`);
for (const [rule, count] of refused) console.log(`  refused ${count} ×: ${rule}`);
if (!values.cases && failed.length === 0) await rm(folder, { recursive: true });
process.exitCode = failed.length || files.length === 0 ? 1 : 0;
