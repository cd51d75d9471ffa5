/** The work of `cogwheel models`. */
import { openSource } from "#files";
import { CogwheelError } from "../base/errors.ts";
import { isObject } from "../base/json-scan.ts";
import { bytesText } from "../base/units.ts";
import { visible } from "../base/visible.ts";
import { Gpu } from "../gpu/gpu.ts";
import { parseHubId, type HubId } from "../hub/id.ts";
import { parseHubAddress } from "../hub/address.ts";
import { cachedRepositories, removeRepository } from "../hub/repository-cache.ts";
import { toldEndpoint } from "../hub/settings.ts";
import { components } from "../pipelines/cogvideox/components.ts";
import { NAMED_MODELS, type NamedModel } from "../pipelines/cogvideox/named-models.ts";
import { publishedBytes } from "../pipelines/cogvideox/published-fit.ts";
import { publishedModels, type PublishedModel } from "../pipelines/cogvideox/published-models.ts";
import { defined } from "../pipelines/options.ts";
import { readJson, type CheckpointSource } from "../sources/source.ts";
import { modelNamed } from "./model-names.ts";
import { fitOf, type FitHere } from "./published-fit.ts";
import { hubProgress } from "./terminal/hub-progress.ts";
import { interruptible } from "./terminal/interrupt.ts";
import { complain, print, printJson, printPath } from "./terminal/output.ts";
import { Progress } from "./terminal/progress.ts";
import { table } from "./terminal/table.ts";

export interface ListModelsOptions {
  json?: boolean;
  fit?: boolean;
  adapter?: string;
}

export interface PullOptions {
  variant?: string;
}

/** Is all that opening takes in the cache? */
type Cached = "yes" | "in part" | "no";

/** What opening a checkpoint of this family needs of its repository. */
const WHAT = { only: Object.keys(components), family: "CogVideoX" };

export async function listModels({ json, fit, adapter }: ListModelsOptions): Promise<void> {
  using progress = new Progress();
  using interruption = interruptible((text) => progress.note(text));
  const { signal } = interruption;
  const repositories = new Map((await cachedRepositories()).map((one) => [one.name.toLowerCase(), one]));
  await using gpu = fit ? await Gpu.open(defined({ adapter })) : undefined;
  const rows: (NamedModel & { bytes: number; cached: Cached; path: string | null; fit?: FitHere })[] = [];
  for (const model of NAMED_MODELS) {
    signal.throwIfAborted();
    const published: PublishedModel = publishedModels[model.published];
    if (gpu) progress.report("plan", rows.length / NAMED_MODELS.length, model.alias);
    const there = repositories.get(model.id.toLowerCase());
    const path = there ? await pathInCache(model.id) : null;
    rows.push({
      ...model,
      bytes: publishedBytes(published),
      cached: path !== null ? "yes" : there?.bytes ? "in part" : "no",
      path,
      ...(gpu ? { fit: await fitOf(model.published, published, gpu, undefined) } : {}),
    });
    repositories.delete(model.id.toLowerCase());
  }
  const others = [];
  for (const { name, bytes } of repositories.values()) {
    const path = await pathInCache(name);
    if (path !== null) others.push({ id: name, bytes, path });
  }
  progress[Symbol.dispose]();
  if (json) {
    printJson({ models: rows, others, adapter: gpu?.name ?? null });
    return;
  }
  const fits = ({ fit }: { fit?: FitHere }): string[] => (fit ? [fit.refused ?? `yes, in ${bytesText(fit.leastBytes, 1)} and more`] : []);
  print(
    table(
      ["--model", "on the hub", "makes", "size", "licence", "here", ...(gpu ? [`fits ${gpu.name}`] : [])],
      rows.map((row) => [row.alias, row.id, row.makes, bytesText(row.bytes, 1), row.licence, row.cached, ...fits(row)]),
    ),
  );
  if (others.length)
    print(
      table(
        ["other models here", "size"],
        others.map(({ id, bytes }) => [id, bytesText(bytes, 1)]),
      ),
    );
  print("`cogwheel models pull 2b` downloads one; so does the first `cogwheel generate --model 2b`.");
}

export async function pullModel(name: string, { variant }: PullOptions): Promise<void> {
  using progress = new Progress();
  using interruption = interruptible((text) => progress.note(text));
  const hub = { signal: interruption.signal, ...hubProgress(progress) };
  await using source = await openSource(onHub(name), { ...WHAT, hub, ...defined({ variant }) });
  progress[Symbol.dispose]();
  printPath(source.label);
}

export async function printModelPath(name: string, { variant }: PullOptions): Promise<void> {
  const id = onHub(name);
  const opening = openSource(id, { ...WHAT, hub: { offline: true }, ...defined({ variant }) });
  await using source = await opening.catch((error: unknown) => {
    if (!(error instanceof CogwheelError) || error.code !== "hub") throw error;
    throw new CogwheelError(
      "hub",
      `${id} must be on this machine, got a part of it or nothing; \`cogwheel models pull ${name}\` downloads what is missing`,
      { cause: error },
    );
  });
  printPath(source.label);
}

export async function removeModel(name: string): Promise<void> {
  const id = onHub(name);
  const freed = await removeRepository(idOf(id)!, { onWait: () => complain("Another process downloads this model; waiting for it.") });
  print(visible(`${idOf(id)!.name} removed, ${bytesText(freed, 1)} freed`));
}

/** A model's name as the hub has it. */
function onHub(name: string): string {
  const named = NAMED_MODELS.find(({ alias }) => alias === name.toLowerCase())?.id ?? modelNamed(name);
  if (!idOf(named))
    throw new CogwheelError(
      "cli",
      `a model must be ${NAMED_MODELS.map(({ alias }) => alias).join(", ")}, or org/name on the hub, got ${JSON.stringify(name)}; ` +
        "`cogwheel models` lists them",
    );
  return named;
}

const idOf = (text: string): HubId | null => parseHubId(text) ?? parseHubAddress(text, toldEndpoint({}));

/** The folder of a model that is whole in the cache and of this family, else null. */
async function pathInCache(id: string): Promise<string | null> {
  const source = await openSource(id, { ...WHAT, hub: { offline: true } }).catch(() => null);
  if (source === null) return null;
  await using opened: CheckpointSource = source;
  const index: unknown = await readJson(opened, "model_index.json").catch(() => null);
  return isObject(index) && String(index["_class_name"]).startsWith("CogVideoX") ? opened.label : null;
}
