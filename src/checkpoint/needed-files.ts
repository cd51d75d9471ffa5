/** Which files of a repository a checkpoint is opened from. */
import { componentFiles, readModelIndex } from "./checkpoint.ts";
import type { OpenCheckpointOptions } from "./checkpoint.ts";
import type { CheckpointSource } from "../sources/source.ts";
import { locateWeights, readShardIndex } from "./weight-index.ts";
import { singleName } from "./weight-names.ts";

/** Which files of a repository a checkpoint is opened from. */
export interface NeededFiles {
  /** Those that are there. */
  readonly files: readonly string[];
  /** Those that should be and are not. */
  readonly missing: readonly string[];
  /** Whether weights are another variant than the one that is taken first: `fp16` files where no plain ones are. */
  readonly secondChoice: boolean;
}

/**
 * The files that opening a checkpoint and using it will read: model_index.json, the configs, the tokenizer, and the weights
 * of the components in one variant, but for those that a file replaces. Names are decided by `source.exists`; only JSON files are read.
 */
export async function neededFiles(source: CheckpointSource, options: OpenCheckpointOptions): Promise<NeededFiles> {
  const { variant } = options;
  const files: string[] = [];
  const missing: string[] = [];
  let secondChoice = false;
  const want = async (path: string, optional = false): Promise<void> => {
    if (await source.exists(path)) files.push(path);
    else if (!optional) missing.push(path);
  };
  await want("model_index.json");
  if (missing.length > 0) return { files, missing, secondChoice };
  await want("generation.json", true);
  for (const component of (await readModelIndex(source, options)).components) {
    const { kind, configFile, weights } = componentFiles(component);
    const replaced = options.files?.has(component.name) ?? false;
    await want(configFile, replaced || kind === "tokenizer");
    if (kind === "tokenizer") await want(`${component.name}/spiece.model`);
    if (weights === null || replaced || options.weightsOf?.includes(component.name) === false) continue;
    const found = await locateWeights(source, component.name, weights, variant);
    if (!found) {
      missing.push(`${component.name}/${singleName(weights, variant ?? null)}`);
      continue;
    }
    secondChoice ||= found.variant !== (variant ?? null);
    await want(found.path);
    if (found.sharded) {
      for (const shard of new Set((await readShardIndex(source, component.name, found.path)).values())) await want(shard);
    }
  }
  return { files, missing, secondChoice };
}
