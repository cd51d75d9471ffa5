/**
 * One component's weights, wherever its folder keeps them: in one safetensors file or in shards behind an index, under the
 * plain name or a variant's. Only headers are read here; a weight's bytes come when it is read.
 */
import { isObject } from "../base/json-scan.ts";
import { CogwheelError } from "../base/errors.ts";
import { openSafetensors, readTensor } from "../files/safetensors.ts";
import type { RowRange, TensorData, TensorInfo } from "../files/safetensors.ts";
import { toFloat32 } from "../files/convert.ts";
import { DTYPE_BYTES, isSafetensorsDType } from "../files/safetensors-dtype.ts";
import type { StoredWeight } from "../graph/stored.ts";
import { checkPath, checkpointError, readJson } from "../sources/source.ts";
import type { CheckpointSource } from "../sources/source.ts";
import { indexNames, join, KNOWN_VARIANTS, singleName } from "./weight-names.ts";
import { placed, weightEntries, type WeightEntry } from "./weight-entry.ts";

/** Pairs of names under which the same tensor is published: files hold either name or both. */
export type TiedNames = readonly (readonly [string, string])[];

/** All weights of a component, by the names of their files; a tied name finds its twin. */
export class WeightIndex {
  readonly #source: CheckpointSource;
  readonly #entries: ReadonlyMap<string, WeightEntry>;
  /** The files that hold them, by path. */
  readonly files: readonly string[];
  /** The variant of the file names, such as `fp16`, or null for the plain name. */
  readonly variant: string | null;
  /** Bytes of all weights together. */
  readonly totalBytes: number;

  constructor(
    source: CheckpointSource,
    entries: ReadonlyMap<string, WeightEntry>,
    files: readonly string[],
    variant: string | null,
    readonly tied: TiedNames,
  ) {
    this.#source = source;
    this.#entries = entries;
    this.files = files;
    this.variant = variant;
    this.totalBytes = [...entries.values()].reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /**
   * What another content of its files would have otherwise, where their source knows such a thing; null where it does not. Nothing of the
   * weights is read.
   */
  async version(): Promise<string | null> {
    const versions = await Promise.all(
      this.files.map(async (file) => [file, (await this.#source.version?.(file)) ?? null, await this.#source.size(file)] as const),
    );
    return versions.every(([, version]) => version !== null) ? JSON.stringify([this.#source.label, versions]) : null;
  }

  /** The number of weights. */
  get size(): number {
    return this.#entries.size;
  }

  /** The names that the files hold. */
  names(): IterableIterator<string> {
    return this.#entries.keys();
  }

  /** Name and place of every weight. */
  [Symbol.iterator](): IterableIterator<[string, WeightEntry]> {
    return this.#entries.entries();
  }

  /** The name under which the files hold a weight: itself, its alias, or null when there is neither. */
  resolve(name: string): string | null {
    if (this.#entries.has(name)) return name;
    for (const [a, b] of this.tied) {
      const twin = name === a ? b : name === b ? a : null;
      if (twin !== null && this.#entries.has(twin)) return twin;
    }
    return null;
  }

  /** Whether a weight is there, under its own name or its alias. */
  has(name: string): boolean {
    return this.resolve(name) !== null;
  }

  /** Dtype, shape and place of a weight, or undefined. */
  get(name: string): WeightEntry | undefined {
    const found = this.resolve(name);
    return found === null ? undefined : this.#entries.get(found);
  }

  /** Tells the source which weights will be read, in which order; until the signal says that it is over. */
  prefetch(names: readonly string[], signal: AbortSignal): void {
    const ranges = names.map((name) => this.get(name)).filter((entry) => entry !== undefined);
    this.#source.prefetch?.(
      ranges.map(({ file: path, start, end }) => ({ path, start, end })),
      signal,
    );
  }

  /** A weight as it is stored, to be read by range. Of types that no kernel reads (f64, integers) the values are f32 once they are read. */
  stored(name: string): StoredWeight {
    const entry = this.#entry(name);
    const { shape, format, scale, file, tensor, dtype } = entry;
    const label = `${tensor} in ${file}`;
    if (format)
      return {
        label,
        shape,
        format,
        ...(scale ? { scale } : {}),
        read: (from, into, signal) => this.#readBytes(entry, from, from + into.length, into, signal),
      };
    if (!isSafetensorsDType(dtype))
      throw checkpointError(this.#source, file, `${tensor}: a weight must be stored as numbers, got ${dtype}; convert the file to F16`);
    const size = DTYPE_BYTES[dtype];
    return {
      label,
      shape,
      format: "f32",
      read: async (from, into, signal) => {
        const [first, last] = [Math.floor(from / 4), Math.ceil((from + into.length) / 4)];
        const bytes = new Uint8Array((last - first) * size);
        await this.#readBytes(entry, first * size, last * size, bytes, signal);
        into.set(new Uint8Array(toFloat32(bytes, dtype).buffer).subarray(from - 4 * first, from - 4 * first + into.length));
      },
    };
  }

  /** Bytes of a tensor, into memory that is given. */
  async #readBytes(entry: WeightEntry, from: number, to: number, into: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<void> {
    const { file, tensor, start, end } = entry;
    signal?.throwIfAborted();
    if (from < 0 || start + to > end)
      throw checkpointError(
        this.#source,
        file,
        `${tensor}: a read must stay inside the weight's ${end - start} bytes, got ${from} to ${to}; correct the range`,
      );
    const got = await this.#source.read(file, start + from, start + to, into, signal);
    // A source of an app's own may answer otherwise, and what is missing would be what lay there before.
    if (got.length !== to - from)
      throw checkpointError(
        this.#source,
        file,
        `${tensor}: a source must give the ${to - from} bytes that are asked for, got ${got.length}; correct its read`,
      );
    if (got.buffer !== into.buffer || got.byteOffset !== into.byteOffset) into.set(got);
  }

  /** Reads a weight of one of safetensors' own types, or some of its rows. */
  async read(name: string, rows?: RowRange): Promise<TensorData> {
    const entry = this.#entry(name);
    if (!isSafetensorsDType(entry.dtype) || entry.scale)
      throw checkpointError(
        this.#source,
        entry.file,
        `${entry.tensor}: a quantized weight must be read as it is stored, got ${entry.dtype}`,
      );
    return readTensor(this.#source, entry.file, entry.tensor, entry as WeightEntry & TensorInfo, rows);
  }

  #entry(name: string): WeightEntry {
    const entry = this.get(name);
    if (entry) return entry;
    throw new CogwheelError(
      "checkpoint",
      `${this.files.join(", ")}: a weight must be there to be read, ` +
        `got the name ${JSON.stringify(name)} (in ${this.#source.label}); check the names with expectWeights first`,
    );
  }
}

/** Lines of a message, the first thirty of many: a config that lies about its layers has thousands. */
export function firstLines(lines: readonly string[]): string[] {
  return [...lines.slice(0, 30), ...(lines.length > 30 ? [`and ${lines.length - 30} more`] : [])].map((line) => `  ${line}`);
}

/** What expectWeights needs of a component. */
export interface HasWeights {
  readonly name: string;
  /** Where its config was read. */
  readonly configFile?: string | null;
  readonly weights: WeightIndex | null;
}

/**
 * Checks that a component has every weight a model wants, in the shape it wants. Everything that is missing or has
 * another shape is listed in one error. Returns the names that the files hold and nobody asked for; they are ignored.
 *
 * @param expected name → shape
 */
export function expectWeights(component: HasWeights, expected: ReadonlyMap<string, readonly number[]>): { ignored: string[] } {
  const { weights } = component;
  if (!weights) {
    throw new CogwheelError(
      "checkpoint",
      `${component.name}: ${expected.size} weights are expected, got a component without weights; download its .safetensors files`,
    );
  }
  const problems: string[] = [];
  const used = new Set<string>();
  for (const [name, shape] of expected) {
    const found = weights.resolve(name);
    if (found === null) {
      problems.push(`${name}: missing, expected [${shape.join(", ")}]`);
      continue;
    }
    used.add(found);
    const got = weights.get(found)!.shape;
    if (got.length !== shape.length || got.some((length, axis) => length !== shape[axis])) {
      problems.push(`${name}: expected [${shape.join(", ")}], got [${got.join(", ")}]`);
    }
  }
  if (problems.length > 0) {
    throw new CogwheelError(
      "checkpoint",
      `${component.name}: every weight must be there in its shape, got ${problems.length} of ${expected.size} missing or ` +
        `of another shape; check that ${component.configFile ?? "config.json"} belongs to ${weights.files.join(", ")}:`,
      { lines: firstLines(problems) },
    );
  }
  // Both names of a tied tensor are used when one of them is.
  for (const pair of weights.tied) if (pair.some((name) => used.has(name))) for (const name of pair) used.add(name);
  return { ignored: [...weights.names()].filter((name) => !used.has(name)) };
}

/** Options of {@link findWeights}. */
export interface FindWeightsOptions {
  /** The variant to take, such as `fp16`; the plain name, or else whichever known variant is there, unless told. */
  variant?: string | undefined;
  /** Names of tied tensors; none unless told. */
  tied?: TiedNames | undefined;
}

/**
 * Finds and opens the weights in a component's folder. Throws when there are none, saying what is there instead.
 *
 * @param folder the component's folder within the checkpoint, `""` for the root
 * @param base the library's file name without extension: `diffusion_pytorch_model` or `model`
 */
export async function findWeights(
  source: CheckpointSource,
  folder: string,
  base: string,
  { variant, tied = [] }: FindWeightsOptions = {},
): Promise<WeightIndex> {
  const found = await locateWeights(source, folder, base, variant);
  if (!found) throw await (await import("./no-weights.ts")).noWeights(source, folder, base, variant);
  if (found.sharded) return openShards(source, folder, found.path, found.variant, tied);
  const file = await openSafetensors(source, found.path);
  return new WeightIndex(source, await weightEntries(source, placed([file])), [found.path], found.variant, tied);
}

/** The file that a component's weights begin with: the one that holds them all, or the index of their shards. */
export interface WeightsFile {
  readonly path: string;
  readonly sharded: boolean;
  readonly variant: string | null;
}

/** Finds the weights in a component's folder by their names alone; null when there are none. */
export async function locateWeights(source: CheckpointSource, folder: string, base: string, variant?: string): Promise<WeightsFile | null> {
  const wanted: (string | null)[] = variant === undefined ? [null, ...KNOWN_VARIANTS] : [variant];
  for (const candidate of wanted) {
    const single = join(folder, singleName(base, candidate));
    if (await source.exists(single)) return { path: single, sharded: false, variant: candidate };
    for (const index of indexNames(base, candidate)) {
      const path = join(folder, index);
      if (await source.exists(path)) return { path, sharded: true, variant: candidate };
    }
  }
  return null;
}

/** What an index of shards says: weight → path of its file. */
export async function readShardIndex(source: CheckpointSource, folder: string, indexPath: string): Promise<Map<string, string>> {
  const index = await readJson(source, indexPath);
  const map = index["weight_map"];
  if (!isObject(map) || Object.keys(map).length === 0) {
    throw checkpointError(
      source,
      indexPath,
      `weight_map must be an object of weight → file, got ${JSON.stringify(map)?.slice(0, 60) ?? "nothing"}; download the file again`,
    );
  }
  const fileOf = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== "string" || !file.endsWith(".safetensors")) {
      throw checkpointError(
        source,
        indexPath,
        `weight_map must name .safetensors files, got ${JSON.stringify(file)} for ${name}; use an index made with safe_serialization=True`,
      );
    }
    checkPath(source, file);
    fileOf.set(name, join(folder, file));
  }
  return fileOf;
}

async function openShards(
  source: CheckpointSource,
  folder: string,
  indexPath: string,
  variant: string | null,
  tied: TiedNames,
): Promise<WeightIndex> {
  const fileOf = await readShardIndex(source, folder, indexPath);
  const paths = [...new Set(fileOf.values())].sort();
  const there = await Promise.all(paths.map((path) => source.exists(path)));
  const absent = paths.filter((_, i) => !there[i]);
  if (absent.length > 0) {
    throw checkpointError(
      source,
      indexPath,
      `every file of the index must be there, got ${absent.length} of ${paths.length} missing: ${absent.join(", ")}; finish the download`,
    );
  }
  const files = new Map((await Promise.all(paths.map((path) => openSafetensors(source, path)))).map((file) => [file.path, file]));
  const lost = [...fileOf].filter(([name, path]) => !files.get(path)!.tensors.has(name));
  if (lost.length > 0) {
    throw checkpointError(
      source,
      indexPath,
      `every weight of the index must be in its file, got ${lost.length} of ${fileOf.size} that are not; ` +
        "the index belongs to other files, download all again",
      undefined,
      firstLines(lost.map(([name, path]) => `${name} in ${path}`)),
    );
  }
  // A shard may hold more than the index says (it is ignored later, by name), but where two hold a name the index decides.
  const entries = placed(files.values());
  for (const [name, path] of fileOf) entries.set(name, { ...files.get(path)!.tensors.get(name)!, file: path });
  return new WeightIndex(source, await weightEntries(source, entries), paths, variant, tied);
}
