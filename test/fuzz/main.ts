/**
 * `npm run fuzz`: damaged, hostile and random inputs through the public doors, by kind. Each input must be refused in words or read for
 * what it says: no hang, no death of the process, no error of a library's own, nothing wrong without a word.
 *
 *   npm run fuzz                                  every kind, as many inputs of a new seed as the kind takes
 *   npm run fuzz -- cases                         one kind (or several)
 *   npm run fuzz -- cases --count 1000 --seed 7   more, of a seed of one's own
 *   npm run fuzz -- cases --seed 7 --index 31     one of them again
 *   npm run fuzz -- cases --dtype f16 --adapter lavapipe --kernels gpu     as in `cogwheel validate`
 *   npm run fuzz -- cases --cases DIR             the files of an earlier run, without making any
 *
 * Inputs that failed stay in test/reference/cases-fuzz/ (or --keep DIR). Exit code 0 when nothing failed.
 */
import { resolve } from "node:path";
import { Argument, Command } from "commander";
import { table } from "../../src/cli/terminal/table.ts";
import { CogwheelError } from "../../src/base/errors.ts";
import { OUTCOMES, Tally, type FuzzKind } from "./kind.ts";

const KINDS: Record<string, () => Promise<FuzzKind>> = {
  adapters: async () => (await import("./adapters.ts")).adapters,
  bombs: async () => (await import("./bombs.ts")).bombs,
  cases: async () => (await import("./cases.ts")).cases,
  gradients: async () => (await import("./cases.ts")).gradients,
  kills: async () => (await import("./kills.ts")).kills,
  "kills-data": async () => (await import("./kills-data.ts")).killsData,
  "kills-train": async () => (await import("./kills-train.ts")).killsTrain,
  media: async () => (await import("./media.ts")).media,
  pictures: async () => (await import("./pictures.ts")).pictures,
  quantized: async () => (await import("./weights.ts")).quantized,
  servers: async () => (await import("./servers.ts")).servers,
  training: async () => (await import("./cases.ts")).training,
  weights: async () => (await import("./weights.ts")).weights,
};

const about = await Promise.all(Object.entries(KINDS).map(async ([name, load]) => ({ name, kind: await load() })));
const program = new Command("fuzz")
  .description("damaged, hostile and random inputs through the public doors, by kind")
  .addArgument(new Argument("[kinds...]", "which (default: all)").choices(Object.keys(KINDS)))
  .option("--count <n>", "how many inputs a kind")
  .option("--seed <n>", "of the draws (default: a new one)")
  .option("--index <n>", "one input of a seed again")
  .option("--keep <folder>", "where inputs that failed stay", "test/reference/cases-fuzz")
  .option("--cases <folder>", "the files of an earlier run, without making any")
  .option("--adapter <name>", "adapter to run on")
  .option("--dtype <type>", "f32 or f16", "f32")
  .option("--kernels <kind>", "gpu or cpu: those of the other kind of adapter")
  .addHelpText("after", `\nKinds:\n${about.map(({ name, kind }) => `  ${name.padEnd(13)}${kind.about} (${kind.count})`).join("\n")}`)
  .parse();
const values = program.opts<
  { keep: string; dtype: string } & { [K in "count" | "seed" | "index" | "cases" | "adapter" | "kernels"]?: string }
>();

function whole(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new CogwheelError("fuzz", `--${name} must be a whole number, got ${text}`);
  return Number(text);
}

try {
  const { dtype, kernels, adapter, cases } = values;
  if (dtype !== "f32" && dtype !== "f16") throw new CogwheelError("fuzz", `--dtype must be f32 or f16, got ${dtype}`);
  if (kernels !== undefined && kernels !== "gpu" && kernels !== "cpu")
    throw new CogwheelError("fuzz", `--kernels must be gpu or cpu, got ${kernels}`);
  const [seed, count, index] = [
    whole("seed", values.seed) ?? Math.floor(Math.random() * 1e6),
    whole("count", values.count),
    whole("index", values.index),
  ];
  const rows: string[][] = [];
  let faults = 0;
  for (const { name, kind } of about.filter(({ name }) => program.args.length === 0 || program.args.includes(name))) {
    const tally = new Tally();
    const from = performance.now();
    console.log(`${name}, seed ${seed}`);
    try {
      await kind.run(
        {
          count: count ?? kind.count,
          seed,
          keep: resolve(values.keep),
          dtype,
          log: (line) => console.log(`  ${line}`),
          ...(index === undefined ? {} : { index }),
          ...(kernels ? { kernels } : {}),
          ...(adapter ? { adapter } : {}),
          ...(cases ? { cases } : {}),
        },
        tally,
      );
    } catch (error) {
      tally.faults.push(`the run itself: ${error instanceof CogwheelError ? error.message : (error as Error).stack}`);
    }
    if (tally.tried === 0) tally.faults.push("nothing was tried");
    for (const text of tally.faults) console.log(`\nFAIL ${text}`);
    for (const [rule, times] of [...tally.rules].sort((a, b) => b[1] - a[1])) console.log(`  refused ${times} ×: ${rule}`);
    faults += tally.faults.length;
    rows.push([
      name,
      String(tally.tried),
      ...OUTCOMES.map((outcome) => String(tally.counts.get(outcome))),
      `${((performance.now() - from) / 1000).toFixed(0)} s`,
    ]);
  }
  console.log(`\n${table(["kind", "tried", ...OUTCOMES, "time"], rows)}`);
  process.exitCode = faults ? 1 : 0;
} catch (error) {
  console.error(error instanceof CogwheelError ? error.message : error);
  process.exitCode = 1;
}
// Dawn keeps the process alive, so it is ended here; a pipe takes what was written only as fast as it is read.
for (const stream of [process.stdout, process.stderr]) await new Promise((written) => stream.write("", written));
process.exit();
