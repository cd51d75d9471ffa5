/** What a checkpoint can be asked for, read from its configs alone: for those who take requests and leave the work to others. */
import { openSource } from "#files";
import { openCheckpoint } from "../../checkpoint/checkpoint.ts";
import type { HubOptions } from "../../hub/id.ts";
import { TIED_T5_WEIGHTS } from "../../models/t5/weights.ts";
import { checkOptions, defined, type GenerateOptions } from "../options.ts";
import { nameOf } from "../made-with.ts";
import type { ModelRules, Settings } from "../settings.ts";
import { checkInputs, taskOf, type Task } from "../task.ts";
import { components, type Configs } from "./components.ts";
import { readAdvice, readConfigs } from "./configs.ts";
import { settingsFor } from "./sizes.ts";

export interface ModelOffer {
  /** The checkpoint's name: of a path the last part. */
  readonly name: string;
  readonly configs: Configs;
  readonly rules: ModelRules;
  /** What a generation does where it is not told otherwise. */
  readonly defaults: Settings;
}

/** Reads the configs; opens no device and no weights. @param from as `CogVideoX.open` takes it */
export async function readOffer(
  from: string,
  { hub, onWarning }: { hub?: HubOptions; onWarning?: (message: string) => void } = {},
): Promise<ModelOffer> {
  const what = { only: Object.keys(components), family: "CogVideoX", tied: TIED_T5_WEIGHTS, configsOnly: true };
  await using checkpoint = await openCheckpoint(await openSource(from, { ...what, ...defined({ hub }) }), what);
  const { configs, rules } = readConfigs(checkpoint, onWarning);
  return { name: nameOf(checkpoint.source.label), configs, rules, defaults: (await readAdvice(checkpoint, rules)).defaults };
}

/** Checks a request as `CogVideoX.prepare` would, up to what takes an adapter: options, task, sizes, frames. Throws what that would throw. */
export function checkOffered(offer: ModelOffer, options: GenerateOptions): { readonly task: Task; readonly settings: Settings } {
  checkOptions(options);
  const task = taskOf(options, offer.rules);
  const settings = settingsFor(offer, options, task);
  checkInputs(options, task, settings.frames);
  return { task, settings };
}
