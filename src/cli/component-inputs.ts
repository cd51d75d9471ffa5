/** Files in components' places, as the command line names them. */
import { parseJsonObject } from "../base/json-scan.ts";
import { CogwheelError } from "../base/errors.ts";
import type { PublishedName } from "../pipelines/cogvideox/published-models.ts";
import type { ComponentInputs, ConfigInput } from "../pipelines/component-files.ts";
import { defined } from "../pipelines/options.ts";
import { readInput } from "./files.ts";
import type { FileFlags } from "./flags.ts";

/** Bytes of a config: published ones have a thousand. */
const CONFIG_LIMIT = 1_000_000;

/** What `open` takes of these flags. A config is a published model's by its name, or a file. */
export async function componentInputs({ transformer, transformerConfig, textEncoder, vae }: FileFlags): Promise<ComponentInputs> {
  if (transformerConfig !== undefined && transformer === undefined)
    throw new CogwheelError(
      "cli",
      `--transformer-config must come with --transformer, whose config it is, got ${transformerConfig} alone; add the file`,
    );
  const file = transformerConfig === undefined ? transformer : { file: transformer!, config: await configOf(transformerConfig) };
  return defined({ transformer: file, textEncoder, vae });
}

async function configOf(named: string): Promise<ConfigInput> {
  if (!/\.json$|[\\/]/i.test(named)) return named as PublishedName; // an unknown name is refused where models are known
  const text = new TextDecoder().decode(await readInput(named, { limit: CONFIG_LIMIT }));
  return parseJsonObject(text, (rule) => new CogwheelError("cli", `${named} ${rule}; give a config.json`));
}
