/**
 * A file in the place of a component's own weights: safetensors or GGUF, wherever it lies. Its config is the one that comes with it (given,
 * in its metadata, or beside it), else that of the checkpoint which it is put into.
 */
import { isObject } from "../base/json-scan.ts";
import { isGguf, openGguf, type GgufFile } from "../files/gguf.ts";
import { openSafetensors } from "../files/safetensors.ts";
import { checkpointError, readJson, type CheckpointSource } from "../sources/source.ts";
import { placed, weightEntries, formatOf, type PlacedTensor, type WeightEntry } from "./weight-entry.ts";
import { WeightIndex, type TiedNames } from "./weight-index.ts";

/** A file that is put in a component's place. */
export interface ComponentFile {
  /** Where it lies; the checkpoint that it is put into takes the source over. */
  readonly source: CheckpointSource;
  readonly path: string;
  /** The component's config, where the file has none and the checkpoint's is another model's. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** GGUF files of a component, by one name of `general.architecture`. */
export interface GgufArchitecture {
  /** The published name of a weight; undefined of a tensor that belongs to no encoder or to none of the model. */
  readonly weight: (tensor: string) => string | undefined;
  /** The config that the metadata tells, where it tells all of it. */
  readonly config?: (file: GgufFile) => Record<string, unknown> | undefined;
}

/** Those that a component may come in, by name. */
export type GgufArchitectures = Readonly<Record<string, GgufArchitecture>>;

/** By component; loaded where there is such a file to read. */
export type GgufFiles = Readonly<Record<string, () => Promise<GgufArchitectures>>>;

/** What a file gave. */
export interface OpenedFile {
  readonly weights: WeightIndex;
  /** Undefined where nothing that comes with the file tells. */
  readonly config: Record<string, unknown> | undefined;
  /** Where the config was found, for messages. */
  readonly configFile: string | undefined;
}

/** Opens a file for a component. @param className the class whose config a file beside it must be */
export async function openComponentFile(
  { source, path, config }: ComponentFile,
  className: string,
  { gguf = async () => ({}), tied = [] }: { gguf?: (() => Promise<GgufArchitectures>) | undefined; tied?: TiedNames | undefined },
): Promise<OpenedFile> {
  const head = await source.read(path, 0, Math.min(4, await source.size(path)));
  const opened = isGguf(head) ? await fromGguf(source, path, await gguf()) : await fromSafetensors(source, path, className);
  const weights = new WeightIndex(source, opened.entries, [path], null, tied);
  if (config) return { weights, config, configFile: `the config given for ${path}` };
  if (opened.config) return { weights, config: opened.config, configFile: `${path}, its metadata` };
  const beside = await configBeside(source, path, className);
  return { weights, config: beside?.config, configFile: beside?.file };
}

interface Read {
  readonly entries: Map<string, WeightEntry>;
  readonly config: Record<string, unknown> | undefined;
}

async function fromSafetensors(source: CheckpointSource, path: string, className: string): Promise<Read> {
  const file = await openSafetensors(source, path);
  // Other programs keep configs of their own under this key.
  const config = attempt(() => JSON.parse(file.metadata["config"] ?? "null") as unknown);
  return { entries: await weightEntries(source, placed([file])), config: isOfClass(config, className) ? config : undefined };
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

async function fromGguf(source: CheckpointSource, path: string, architectures: GgufArchitectures): Promise<Read> {
  const file = await openGguf(source, path);
  const name = file.metadata.get("general.architecture");
  const architecture = typeof name === "string" && Object.hasOwn(architectures, name) ? architectures[name] : undefined;
  if (!architecture)
    throw checkpointError(
      source,
      path,
      `general.architecture must be ${Object.keys(architectures).join(" or ") || "one of this component's, which has none"}, ` +
        `got ${JSON.stringify(name) ?? "none"}; take a file of this model, or its safetensors`,
    );
  const entries = new Map<string, WeightEntry>();
  for (const [tensor, { type, shape, start, end }] of file.tensors) {
    const weight = architecture.weight(tensor);
    if (weight === undefined) continue;
    if (entries.has(weight))
      throw checkpointError(
        source,
        path,
        `a weight must be there once, got ${weight} twice, the second time as ${tensor}; write the file again`,
      );
    const place: PlacedTensor = { file: path, dtype: type, shape, start, end };
    entries.set(weight, { ...place, tensor, format: formatOf(type) });
  }
  return { entries, config: architecture.config?.(file) };
}

/** The config.json of the folder that the file lies in, if it is of the component's class. */
async function configBeside(
  source: CheckpointSource,
  path: string,
  className: string,
): Promise<{ file: string; config: Record<string, unknown> } | undefined> {
  const file = `${path.slice(0, path.lastIndexOf("/") + 1)}config.json`;
  if (!(await source.exists(file).catch(() => false))) return undefined;
  const config = await readJson(source, file).catch(() => undefined);
  return isOfClass(config, className) ? { file, config } : undefined;
}

/** Whether a config says that it is a component's: diffusers' key, or transformers'. */
function isOfClass(config: unknown, className: string): config is Record<string, unknown> {
  if (!isObject(config)) return false;
  const { _class_name: name, architectures } = config;
  return name === className || (Array.isArray(architectures) && (architectures as unknown[]).includes(className));
}
