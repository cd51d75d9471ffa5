/**
 * Results of encoders that are kept from run to run: each a safetensors file under a digest of all that it follows from, so that one that
 * is found is what the encoder would give. Written whole or not at all.
 */
import { keptAt, keptFiles } from "#platform";
import { CogwheelError } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import { toFloat32 } from "../files/convert.ts";
import { openSafetensors, writeSafetensors } from "../files/safetensors.ts";
import type { LatentPosterior } from "../models/vae/posterior.ts";
import type { KeptFile, KeptFiles } from "../platform/types.ts";
import { memorySource } from "../sources/memory.ts";

/** Named arrays with their shapes. */
export type StoredTensors = Readonly<Record<string, { readonly shape: readonly number[]; readonly data: Float32Array<ArrayBuffer> }>>;

/** A posterior as it is kept: [C, T, H, W] each, of the one clip. */
export function posteriorTensors({ mean, logvar, shape: [, ...shape] }: LatentPosterior): StoredTensors {
  return { mean: { shape, data: new Float32Array(mean) }, logvar: { shape, data: new Float32Array(logvar) } };
}

const FORMAT = "cogwheel-training/1";
const KIND = "training";
const ENDING = ".safetensors";
/** Our files' headers are shorter. */
const HEAD_BYTES = 4096;
/** Of one result: latents of a minute of video are smaller. */
const MOST_BYTES = 2 ** 31;

/** The digest of all that a result follows from. @param from anything that JSON holds */
export const digestOf = (from: unknown): Promise<string> => sha256(new TextEncoder().encode(JSON.stringify([FORMAT, from])));

/** What is kept for this user, and where; undefined where nothing can be kept. */
export async function listClipResults(): Promise<{ place: string; files: readonly KeptFile[] } | undefined> {
  const files = await keptFiles(KIND, true);
  return files && { place: files.place, files: (await files.list()).filter(({ name }) => name.endsWith(ENDING)) };
}

/** Forgets it; a run that needs some of it encodes that again. Resolves to how much it was. */
export async function clearClipResults(): Promise<{ files: number; bytes: number }> {
  const files = await keptFiles(KIND, true);
  const found = (await listClipResults())?.files ?? [];
  for (const { name } of found) await files!.remove(name);
  return { files: found.length, bytes: bytesIn(found) };
}

/** Bytes of files together. */
export const bytesIn = (files: readonly KeptFile[]): number => files.reduce((sum, { bytes }) => sum + bytes, 0);

export class ClipStore {
  readonly #names: Set<string>;
  /** Of the arrays of what was written or looked at. */
  readonly #shapes = new Map<string, ReadonlyMap<string, readonly number[]>>();
  private constructor(
    private readonly files: KeptFiles,
    names: Iterable<string>,
  ) {
    this.#names = new Set(names);
  }

  /**
   * Opens what is kept. @param place a folder (Node), or `memory` for this run alone. Default: this user's caches, and memory where nothing
   * can be kept
   */
  static async open(place?: string): Promise<ClipStore> {
    const files = (place === undefined ? await keptFiles(KIND) : place === "memory" ? undefined : keptAt(place)) ?? inMemory();
    return new ClipStore(
      files,
      (await files.list()).map(({ name }) => name),
    );
  }

  /** Where results lie, for the user. */
  get place(): string {
    return this.files.place;
  }

  has(key: string): boolean {
    return this.#names.has(key + ENDING);
  }

  async write(key: string, tensors: StoredTensors): Promise<void> {
    const entries = Object.entries(tensors);
    const metadata: Record<string, string> = { format: FORMAT };
    for (const [name, { data }] of entries) metadata[`sha256.${name}`] = await sha256(bytesOf(data));
    const file = writeSafetensors(new Map(entries.map(([name, { shape, data }]) => [name, { dtype: "F32", shape, data }])), metadata);
    await this.files.write(key + ENDING, file);
    this.#names.add(key + ENDING);
    this.#shapes.set(key, new Map(entries.map(([name, { shape }]) => [name, shape])));
  }

  /** The shape of an array that is kept, by its file's header alone. */
  async shapeOf(key: string, name: string): Promise<readonly number[]> {
    const known = this.#shapes.get(key)?.get(name);
    if (known) return known;
    const head = await this.files.peek(key + ENDING, MOST_BYTES, HEAD_BYTES);
    const shapes = head && (await readShapes(head).catch(() => undefined));
    // What cannot be read goes, and is told.
    if (!shapes?.has(name)) return (await this.read(key))[name]!.shape;
    this.#shapes.set(key, shapes);
    return shapes.get(name)!;
  }

  /** What is kept under a key. What is damaged goes, and is told: the next run makes it anew. */
  async read(key: string): Promise<StoredTensors> {
    const bytes = await this.files.read(key + ENDING, MOST_BYTES);
    const found: Record<string, StoredTensors[string]> = {};
    try {
      const file = await openSafetensors(memorySource({ kept: bytes! }), "kept");
      if (file.metadata["format"] !== FORMAT) throw new Error("another format");
      for (const [name, { shape, dtype }] of file.tensors) {
        const { bytes: data } = await file.read(name);
        if ((await sha256(data)) !== file.metadata[`sha256.${name}`]) throw new Error("other bytes");
        found[name] = { shape, data: toFloat32(data, dtype) as Float32Array<ArrayBuffer> };
      }
      return found;
    } catch (cause) {
      this.#names.delete(key + ENDING);
      await this.files.remove(key + ENDING).catch(() => undefined);
      throw new CogwheelError(
        "data",
        `what was encoded must stay as it was written, got ${bytes ? "a damaged" : "no"} ${key}${ENDING} in ${this.place}; ` +
          "go on with the run: it is made anew",
        { cause },
      );
    }
  }
}

/** Shapes by the header alone, which says how long the file is too. */
async function readShapes(head: Uint8Array<ArrayBuffer>): Promise<Map<string, readonly number[]>> {
  const headerBytes = Number(new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(head.subarray(8, 8 + headerBytes))) as Record<string, { shape?: unknown }>;
  const shapes = Object.entries(header).flatMap(([name, { shape }]) => (Array.isArray(shape) ? [[name, shape as number[]] as const] : []));
  return new Map(shapes);
}

const bytesOf = (data: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

function inMemory(): KeptFiles {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const peek = async (name: string, _most: number, first?: number) => files.get(name)?.slice(0, first);
  return {
    place: "memory",
    list: async () => [...files].map(([name, { length }]) => ({ name, bytes: length, used: 0 })),
    read: peek,
    peek,
    write: async (name, bytes) => void files.set(name, new Uint8Array(bytes)),
    remove: async (name) => void files.delete(name),
  };
}
