/**
 * A checkpoint in diffusers' folder layout: model_index.json names the components, each has a folder with its config and
 * its weights. Opening reads the JSON files and the weights' headers, so that everything that is wrong with the files
 * comes out before anything is loaded; weights are read later, by range.
 */
import { isObject } from "../base/json-scan.ts";
import { CogwheelError } from "../base/errors.ts";
import { checkPath, checkpointError, readJson } from "../sources/source.ts";
import type { CheckpointSource } from "../sources/source.ts";
import type { ComponentFile, GgufFiles } from "./component-file.ts";
import { findWeights, type TiedNames } from "./weight-index.ts";
import type { WeightIndex } from "./weight-index.ts";

/** One component: a folder of the checkpoint. */
export interface Component {
  /** Its key in model_index.json and its folder, e.g. `transformer`. */
  readonly name: string;
  /** `diffusers` or `transformers`. */
  readonly library: string;
  /** The class that model_index.json names. */
  readonly className: string;
  /** Its config as it stands in the file; empty for a tokenizer without one. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Where the config was read, for messages; null when there is none. */
  readonly configFile: string | null;
  /** Its weights; null for a scheduler, a tokenizer or a feature extractor. */
  readonly weights: WeightIndex | null;
}

/** Options of {@link openCheckpoint}. */
export interface OpenCheckpointOptions {
  /** Read the configs and look for no weights. */
  configsOnly?: boolean;
  /** The components whose weights are looked for; of others the configs alone are read. Default: all. */
  weightsOf?: readonly string[];
  /** The variant of the weights to take, such as `fp16`; the plain files, or else the variant that is there, unless told. */
  variant?: string;
  /** The components to open, by name; all of them unless told. Others are neither read nor checked. */
  only?: readonly string[];
  /** Pairs of names under which a tied tensor is published: files hold either name or both. */
  tied?: TiedNames;
  /** Files in place of components' own weights, by the component's name. */
  files?: ReadonlyMap<string, ComponentFile>;
  /** In which GGUF files components come, by the component's name. */
  gguf?: GgufFiles;
  /** Whose checkpoints the caller runs, for messages. */
  family?: string;
  /**
   * The class of a component that may come alone, where `only` names that one: by its own folder, as training leaves it, or by the folder
   * above without a model_index.json.
   */
  alone?: string;
}

/** An open checkpoint. Disposing it disposes the source, and those of files in components' places. */
export class Checkpoint implements AsyncDisposable {
  /** The pipeline that model_index.json names. */
  readonly className: string;
  /** The components that were opened, by name, in the file's order. */
  readonly components: ReadonlyMap<string, Component>;
  /** Where the files come from, e.g. for the tokenizer's. */
  readonly source: CheckpointSource;

  constructor(
    source: CheckpointSource,
    className: string,
    components: ReadonlyMap<string, Component>,
    private readonly family?: string,
    private readonly files: readonly ComponentFile[] = [],
  ) {
    this.source = source;
    this.className = className;
    this.components = components;
  }

  /** A component by its name; throws when the checkpoint has none of that name. */
  component(name: string): Component {
    const found = this.components.get(name);
    if (found) return found;
    throw checkpointError(
      this.source,
      "model_index.json",
      `the checkpoint must have a component ${JSON.stringify(name)}, ` +
        `got ${[...this.components.keys()].join(", ") || "none"}; ${useAnother(this.family)}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await disposeAll(this.source, this.files);
  }
}

/**
 * Reads what a checkpoint holds. It takes the sources over, its own and those of files: disposing the checkpoint disposes them, and so
 * does a failure.
 */
export async function openCheckpoint(source: CheckpointSource, options: OpenCheckpointOptions = {}): Promise<Checkpoint> {
  try {
    return await open(source, options);
  } catch (error) {
    await disposeAll(source, options.files?.values());
    throw error;
  }
}

async function disposeAll(source: CheckpointSource, files: Iterable<ComponentFile> = []): Promise<void> {
  await Promise.all([source, ...[...files].map((file) => file.source)].map((one) => one[Symbol.asyncDispose]()));
}

/** A component as model_index.json names it. */
export interface ListedComponent {
  readonly name: string;
  /** `diffusers` or `transformers`. */
  readonly library: string;
  readonly className: string;
  /** Where it lies. Default: the folder of its name. */
  readonly folder?: string;
}

/** What model_index.json says: the pipeline's class and its components, or those of `only`; throws when one of these is missing. */
export async function readModelIndex(
  source: CheckpointSource,
  { only, family }: Pick<OpenCheckpointOptions, "only" | "family"> = {},
): Promise<{ className: string; components: ListedComponent[] }> {
  const index = await readJson(source, "model_index.json");
  const className = index["_class_name"];
  if (typeof className !== "string") {
    throw checkpointError(
      source,
      "model_index.json",
      `_class_name must be a string, got ${JSON.stringify(className) ?? "nothing"}; download the file again`,
    );
  }
  const listed: ListedComponent[] = [];
  for (const [name, value] of Object.entries(index)) {
    // Components are pairs of library and class; [null, null] is one that was left out, the rest are options.
    if (name.startsWith("_") || !Array.isArray(value)) continue;
    const [library, componentClass] = value as unknown[];
    if (library === null && componentClass === null) continue;
    if (value.length !== 2 || typeof library !== "string" || typeof componentClass !== "string") {
      throw checkpointError(
        source,
        "model_index.json",
        `${name} must be a pair of library and class, got ${JSON.stringify(value)}; download the file again`,
      );
    }
    checkPath(source, name);
    listed.push({ name, library, className: componentClass });
  }
  const missing = only?.filter((name) => !listed.some((component) => component.name === name)) ?? [];
  if (missing.length > 0) {
    throw checkpointError(
      source,
      "model_index.json",
      `the checkpoint must have ${missing.join(", ")}, ` +
        `got ${listed.map(({ name }) => name).join(", ") || "no components"}; ${useAnother(family)}`,
    );
  }
  return { className, components: only ? listed.filter(({ name }) => only.includes(name)) : listed };
}

/** Where a component keeps its files: its config, and the name of its weights without extension, null when it has none. */
export function componentFiles({ name, library, className, folder = name }: ListedComponent): {
  kind: "scheduler" | "tokenizer" | "processor" | "model";
  configFile: string;
  weights: string | null;
} {
  const kind = /Scheduler$/.test(className)
    ? "scheduler"
    : /Tokenizer(Fast)?$/.test(className)
      ? "tokenizer"
      : /(Processor|FeatureExtractor)(Fast)?$/.test(className)
        ? "processor"
        : "model";
  const file = {
    scheduler: "scheduler_config.json",
    tokenizer: "tokenizer_config.json",
    processor: "preprocessor_config.json",
    model: "config.json",
  }[kind];
  const base = library === "transformers" ? "model" : "diffusion_pytorch_model";
  return { kind, configFile: folder === "" ? file : `${folder}/${file}`, weights: kind === "model" ? base : null };
}

/** Throws unless a variant is a word. */
export function checkVariant(variant: string | undefined): void {
  if (variant !== undefined && !/^[\w-]+$/.test(variant)) {
    throw new CogwheelError(
      "checkpoint",
      `a variant must be a word such as fp16, got ${JSON.stringify(variant)}; leave it out for the plain files`,
    );
  }
}

const useAnother = (family: string | undefined): string => (family ? `use a ${family} checkpoint` : "use another checkpoint");

async function open(source: CheckpointSource, options: OpenCheckpointOptions): Promise<Checkpoint> {
  checkVariant(options.variant);
  const hasIndex = await source.exists("model_index.json");
  const alone = hasIndex ? undefined : await componentAlone(source, options);
  if (!hasIndex && !alone) throw await noIndex(source);
  const { className, components: listed } = alone ? { className: "", components: [alone] } : await readModelIndex(source, options);
  const components = await Promise.all(listed.map((component) => openComponent(source, component, options)));
  const byName = new Map(components.map((component) => [component.name, component]));
  return new Checkpoint(source, className, byName, options.family, [...(options.files?.values() ?? [])]);
}

/** The one component that is asked for, where its config lies here or in its folder. */
async function componentAlone(source: CheckpointSource, { only = [], alone }: OpenCheckpointOptions): Promise<ListedComponent | undefined> {
  const [name] = only;
  if (alone === undefined || name === undefined || only.length > 1) return undefined;
  for (const folder of ["", name]) {
    const file = folder === "" ? "config.json" : `${folder}/config.json`;
    const config = (await source.exists(file)) ? await readJson(source, file).catch(() => undefined) : undefined;
    if (config?.["_class_name"] === alone) return { name, library: "diffusers", className: alone, folder };
  }
  return undefined;
}

async function openComponent(
  source: CheckpointSource,
  component: ListedComponent,
  { variant, configsOnly = false, weightsOf, tied, files, gguf }: OpenCheckpointOptions,
): Promise<Component> {
  const { name, library, className, folder = name } = component;
  const { kind, configFile, weights: base } = componentFiles(component);
  const given = files?.get(name);
  // A chunk of its own: most pages put no file anywhere.
  const file = given && (await (await import("./component-file.ts")).openComponentFile(given, className, { gguf: gguf?.[name], tied }));
  const there = file?.config === undefined && (await source.exists(configFile));
  if (!there && file?.config === undefined && kind !== "tokenizer") {
    throw checkpointError(
      source,
      configFile,
      `model_index.json names the component ${name} (${className}), so its config must exist, got no such file` +
        (given ? `, and none with ${given.path}; put its config.json beside that file` : "; finish the download"),
    );
  }
  const config = file?.config ?? (there ? await readJson(source, configFile) : {});
  const own = (): Promise<WeightIndex> | null => (base === null ? null : findWeights(source, folder, base, { variant, tied }));
  const weights = configsOnly || weightsOf?.includes(name) === false ? null : (file?.weights ?? (await own()));
  return { name, library, className, config, configFile: file?.configFile ?? (there ? configFile : null), weights };
}

/** The error for a folder that is no pipeline; says when it is one of a pipeline's components. */
async function noIndex(source: CheckpointSource): Promise<CogwheelError> {
  let got = "no such file";
  let instead = "";
  if (await source.exists("config.json")) {
    const config = await readJson(source, "config.json").catch(() => ({}) as Record<string, unknown>);
    const className =
      config["_class_name"] ?? (isObject(config) && Array.isArray(config["architectures"]) ? config["architectures"][0] : undefined);
    got = `a config.json${typeof className === "string" ? ` of ${className}` : ""}, so a single component`;
    instead = "; a component takes the place of a checkpoint's by --transformer, --text-encoder or --vae";
  }
  return checkpointError(
    source,
    "model_index.json",
    `a checkpoint must be in diffusers' folder layout, got ${got}; ` +
      `pass the folder above that holds model_index.json, or convert with diffusers' scripts${instead}`,
  );
}
