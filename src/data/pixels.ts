/** Clips as a VAE learns from them: pixels, read and scaled when they are asked for, of which the last ones are kept. */
import { CogwheelError } from "../base/errors.ts";
import { sha256 } from "../base/sha256.ts";
import { drawsOf } from "../training/draws.ts";
import type { LatePixels, PixelSample } from "../training/vae/sample.ts";
import { BrokenClips, scanClips } from "./broken.ts";
import type { ClipSizes } from "./clip-size.ts";
import type { ClipFolder, ClipRow } from "./folder.ts";
import { KeptClips } from "./kept-clips.ts";
import { readPixels } from "./read.ts";
import { digestOf } from "./store.ts";

export interface PixelClipsOptions {
  readonly sizes: ClipSizes;
  /** Sides are multiples of so many pixels, and lengths of so many frames and one more. */
  readonly spatial: number;
  readonly temporal: number;
  /** Makes a clip's moments, where the encoder is not trained: they are as good as the clip. */
  readonly encode?: (clip: PixelSample) => Promise<Float32Array>;
  /**
   * Why clips of these sizes cannot be learned from, where some cannot: then all of them are read before a run begins, for how long a clip
   * is says no header.
   */
  readonly refuse?: (size: Pick<PixelSample, "frames" | "height" | "width">) => string | undefined;
  readonly signal?: AbortSignal;
  readonly onProgress?: (stage: string, done: number, detail?: string) => void;
  readonly onWarning?: (message: string) => void;
}

export interface PixelClips {
  readonly rows: readonly ClipRow[];
  /** Names of clips that cannot be read. */
  readonly broken: readonly string[];
  /** What a run that goes on must find again. */
  readonly identity: Readonly<Record<string, unknown>>;
  /** Digests of the clips' bytes. */
  readonly contents: ReadonlySet<string>;
  /** What `trainVae` takes as its data. @param seed decides the order */
  samples(seed: number): (epoch: number) => AsyncGenerator<LatePixels, void, void>;
}

/** Values of clips that are kept, pixels and moments: 1 GiB. */
const MOST_VALUES = 2 ** 28;

/** Reads the headers and first frames of all clips, and gives what can be read; clips that turn out broken later are left out then. */
export async function pixelClips(folder: ClipFolder, options: PixelClipsOptions): Promise<PixelClips> {
  const { sizes, spatial, temporal, encode, refuse, signal, onProgress } = options;
  const broken = new BrokenClips(folder, options);
  const contents: string[] = [];
  for (const [i, row] of folder.rows.entries()) {
    signal?.throwIfAborted();
    contents.push(await sha256(await folder.read(row.file, signal)));
    onProgress?.("read clips", (i + 1) / folder.rows.length);
  }
  await scanClips(folder.rows, folder, broken, options);
  const rows = folder.rows.filter((row) => !broken.has(row));
  const kept = new KeptClips<ClipRow>(MOST_VALUES);
  const known = new Map<ClipRow, Pick<PixelSample, "frames" | "height" | "width">>();
  const read = async (row: ClipRow): Promise<PixelSample> => {
    const { frames, pixels, width, height } = await readPixels(folder, row, { sizes, spatial, temporal, signal });
    return { pixels, frames: frames.length, height, width };
  };
  const clipOf = async (row: ClipRow): Promise<PixelSample | undefined> => {
    if (broken.has(row)) return undefined;
    const found = kept.use(row);
    if (found) return found;
    let clip: PixelSample;
    try {
      clip = await read(row);
    } catch (error) {
      broken.add(row, error);
      broken.check();
      return undefined;
    }
    known.set(row, { frames: clip.frames, height: clip.height, width: clip.width });
    kept.keep(row, clip);
    return clip;
  };
  const load = async (row: ClipRow): Promise<PixelSample> => {
    const clip = await clipOf(row);
    if (!clip)
      throw new CogwheelError("data", `${row.file} must stay as it was when the run began, got one that cannot be read; restore it`, {
        code: "file",
      });
    if (!encode || clip.moments) return clip;
    const encoded = { ...clip, moments: await encode(clip) };
    if (kept.has(row)) kept.keep(row, encoded);
    return encoded;
  };
  if (refuse)
    for (const [i, row] of rows.entries()) {
      const clip = await clipOf(row);
      const refused = clip && refuse(clip);
      if (refused) throw new CogwheelError("data", `${row.file}: ${refused}`);
      onProgress?.("measure clips", (i + 1) / rows.length);
    }
  return {
    rows,
    get broken() {
      return broken.names;
    },
    identity: { data: await digestOf(contents), clips: rows.length, sizes },
    contents: new Set(contents),
    samples: (seed) =>
      async function* (epoch) {
        for (const index of drawsOf(seed, "order", epoch).permutation(rows.length)) {
          const row = rows[index]!;
          // How many frames a clip has is known once it was read; a step that was taken before reads it no second time.
          const size = broken.has(row) ? undefined : (known.get(row) ?? (await clipOf(row)));
          if (size) yield { frames: size.frames, height: size.height, width: size.width, load: () => load(row) };
        }
      },
  };
}
