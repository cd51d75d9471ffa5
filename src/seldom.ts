/** Calls that most pages never make: what they run is a chunk of its own, which the first call loads. */
import type * as cases from "./check/reference/case.ts";
import type * as runs from "./check/reference/run.ts";
import type * as adapters from "./pipelines/lora-file.ts";
import type * as prompts from "./pipelines/prompt-cache.ts";
import type * as rates from "./tuning/rates.ts";
import type * as tuning from "./tuning/tune.ts";

/** A case from a file of `source`, or from the bytes of one. `name` is what reports call it. */
export const readCase: typeof cases.readCase = async (...of) => (await import("./check/reference/case.ts")).readCase(...of);

/** Runs a reference case on an adapter and compares what it gives. */
export const runCase: typeof runs.runCase = async (...of) => (await import("./check/reference/run.ts")).runCase(...of);

/**
 * Measures every kernel that this adapter can run for the work of a generation of this model, on drawn data: no weights are read.
 * Work that would take longer than a measurement may is left to the choice by capability, and said so.
 */
export const tune: typeof tuning.tune = async (...of) => (await import("./tuning/tune.ts")).tune(...of);

/**
 * How fast this model's kernels run on its adapter, and how fast its weights come: `model.times` says with them how long a generation will
 * take. The first call for a model takes some seconds; in Node the rates are kept for this user beside the tuning table.
 */
export const measureRates: typeof rates.measureRates = async (...of) => (await import("./tuning/rates.ts")).measureRates(...of);

/** What is kept for this user of encoded prompts, what was used last first, and where it lies; undefined where nothing can be kept. */
export const listPrompts: typeof prompts.listPrompts = async () => (await import("./pipelines/prompt-cache.ts")).listPrompts();

/** Forgets what is kept for this user of encoded prompts. Resolves to how much that was. */
export const clearPrompts: typeof prompts.clearPrompts = async () => (await import("./pipelines/prompt-cache.ts")).clearPrompts();

/**
 * Reads an adapter. PEFT's files come with their config; what the config asks for is checked when the adapter meets a model.
 * @param from a file or folder (Node), a URL of a file, a repository on the hub or the address of a file or folder in it, or the bytes
 * of a file
 */
export const loadLora: typeof adapters.loadLora = async (...of) => (await import("./pipelines/lora-file.ts")).loadLora(...of);
