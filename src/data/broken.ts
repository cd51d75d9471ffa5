/** Clips that cannot be read: they are told by name and left out, and end a run only where they are too many. */
import { CogwheelError } from "../base/errors.ts";
import { decodeVideo } from "../video/decode.ts";
import type { ClipFolder, ClipRow } from "./folder.ts";
import type { PrepareClipsOptions } from "./prepared.ts";

/** More broken clips than this share stop a run. */
const MOST_BROKEN = 0.1;
const NAMED = 3;
/** So many warnings of clips that are read all the same are told in full. */
const MOST_TOLD = 20;

type ReadOptions = Pick<PrepareClipsOptions, "signal" | "onProgress" | "onWarning">;

/** Clips that cannot be read: told by name and left out, until there are too many. */
export class BrokenClips {
  readonly #rows = new Map<ClipRow, string>();
  constructor(
    private readonly folder: ClipFolder,
    private readonly options: ReadOptions,
  ) {}

  get names(): string[] {
    return [...this.#rows.keys()].map(({ file }) => file);
  }

  has = (row: ClipRow): boolean => this.#rows.has(row);

  /** Takes what is wrong with a clip; throws what is wrong with the run. */
  add(row: ClipRow, error: unknown): void {
    this.options.signal?.throwIfAborted();
    if (!(error instanceof CogwheelError) || error.room !== "video") throw error;
    this.#rows.set(row, error.message);
    this.options.onWarning?.(`[data] ${row.file} is left out, it cannot be read: ${error.message}`);
  }

  check(): void {
    const [broken, all] = [this.#rows.size, this.folder.rows.length];
    if (broken <= MOST_BROKEN * all && broken < all) return;
    const lines = [...this.#rows].slice(0, NAMED).map(([{ file }, message]) => `${file}: ${message}`);
    throw new CogwheelError(
      "data",
      `at most a tenth of the clips may be broken, got ${broken} of ${all} in ${this.folder.label}; convert or remove them`,
      { lines },
    );
  }
}

/** Clips that were read in part, or not as they say: the first are told by what is wrong with them, the others counted. */
export class DamagedClips {
  #count = 0;
  constructor(private readonly options: Pick<ReadOptions, "onWarning">) {}

  add = (message: string): void => {
    if (++this.#count <= MOST_TOLD) this.options.onWarning?.(`[data] ${message}`);
  };

  tellRest(): void {
    if (this.#count > MOST_TOLD) this.options.onWarning?.(`[data] ${this.#count - MOST_TOLD} more clips were not read as they say`);
  }
}

/** The header and the first frame of every clip, before hours are spent on the others. */
export async function scanClips(
  clips: readonly ClipRow[],
  folder: ClipFolder,
  broken: BrokenClips,
  { signal, onProgress }: ReadOptions,
): Promise<void> {
  for (const [i, row] of clips.entries()) {
    try {
      await decodeVideo(await folder.read(row.file, signal), { maxFrames: 1, ...(signal ? { signal } : {}) });
    } catch (error) {
      broken.add(row, error);
    }
    onProgress?.("scan clips", (i + 1) / clips.length);
  }
  broken.check();
}
