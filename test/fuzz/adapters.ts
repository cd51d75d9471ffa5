/**
 * Random LoRA adapters as PEFT and diffusers save them, some with edited configs (Python: test/reference/adapters.py), on the
 * transformer: the result must be theirs, merged and live, or the adapter refused by the name of a field that a plain LoRA does not
 * have. Nothing else may be refused that they load.
 */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { CogwheelError } from "../../src/base/errors.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { readAdapterCase, runAdapterCase } from "../support/adapter-case.ts";
import { isRefusal, within, type FuzzKind } from "./kind.ts";

const LIMIT = 1e-5;
const SECONDS = 120;

/** Do a refusal's words name one of the fields by which the case may be refused? */
function names(message: string, fields: readonly string[]): boolean {
  const words: Readonly<Record<string, RegExp>> = { use_dora: /DoRA/, modules_to_save: /(?:whole weights|biases) beside/ };
  return fields.some((field) => message.includes(field) || words[field]?.test(message));
}

export const adapters: FuzzKind = {
  about: "random LoRA adapters of PEFT and diffusers (Python), read as they read them or refused by a field's name",
  count: 200,
  async run(options, tally) {
    const { seed, log } = options;
    let folder = resolve(options.cases ?? options.keep);
    if (!options.cases) {
      await mkdir(folder, { recursive: true });
      folder = await mkdtemp(join(folder, `adapters-${seed}-`));
      const which = options.index === undefined ? ["--count", String(options.count)] : ["--index", String(options.index)];
      log(`making adapters in ${relative(".", folder)}`);
      const { status, error } = spawnSync(
        process.execPath,
        ["test/reference/run.mjs", "adapters", "--out", folder, "--seed", String(seed), ...which],
        { stdio: ["ignore", "ignore", "pipe"] },
      );
      if (status !== 0)
        throw new CogwheelError(
          "fuzz",
          "test/reference/adapters.py must make the adapters, " +
            `got ${error?.message ?? `exit code ${status}`}; run it by itself for its message`,
        );
    }
    await using gpu = await Gpu.open(options.adapter ? { adapter: options.adapter } : {});
    let worst = { error: 0, name: "" };
    for (const name of (await readdir(folder)).sort((a, b) => Number(a) - Number(b))) {
      const place = join(folder, name);
      const input = `adapters, again: --seed ${seed} --index ${name} (${relative(".", place)})`;
      const about = await readAdapterCase(place);
      const fields = about.adapters.flatMap((adapter) => adapter.fields);
      const found = await within(SECONDS, runAdapterCase(gpu, place, about));
      const faults = tally.faults.length;
      if (found === "hang") tally.add("hang", input);
      else if ("error" in found) {
        const { error } = found;
        // Where the reference gives no result there is no sample either, and any refusal in words is right.
        if (isRefusal(error) && !about.error && !names(error.message, fields))
          tally.add("silent wrong", input, `refused what the reference reads: ${error.message}`);
        else if (isRefusal(error)) {
          tally.rule(error.message.replace(/\] \S+: /, "] "));
          tally.add("refused", input);
        } else tally.thrown(error, input);
      } else {
        const error = Math.max(found.value.merged, found.value.live);
        if (error > worst.error) worst = { error, name };
        if (error <= LIMIT) tally.add("read", input);
        else
          tally.add(
            "silent wrong",
            input,
            `merged ${found.value.merged.toExponential(1)}, live ${found.value.live.toExponential(1)} from ${JSON.stringify(about)}`,
          );
      }
      if (!options.cases && tally.faults.length === faults) await rm(place, { recursive: true });
    }
    log(`${gpu.name}: the largest relative L2 error is ${worst.error.toExponential(1)} (${worst.name})`);
    if (!options.cases && tally.faults.length === 0) await rm(folder, { recursive: true });
  },
};
