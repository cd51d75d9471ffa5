/**
 * Tiles as the reference has them: every tile is encoded or decoded by itself, with norms of its own, and blended with its
 * neighbours over their overlap. The result is therefore not that of the whole picture.
 */
import { CogwheelError } from "../../base/errors.ts";
import { spatialRatio, type VaeConfig } from "./config.ts";
import type { VideoShape } from "./batches.ts";

/** The arguments of the reference's `enable_tiling`, with its defaults. */
export interface Tiling {
  /** Pixels. Default: half the config's sample size. */
  readonly tile_sample_min_height?: number;
  readonly tile_sample_min_width?: number;
  /** Share of a tile that its neighbour covers too. Default 1/6 and 1/5. */
  readonly tile_overlap_factor_height?: number;
  readonly tile_overlap_factor_width?: number;
}

interface Axis {
  /** Size of a tile and distance of tiles in what goes in; rows (columns) blended and kept of a tile in what comes out. */
  readonly size: number;
  readonly step: number;
  readonly blend: number;
  readonly keep: number;
}

export interface TileAxes {
  readonly rows: Axis;
  readonly columns: Axis;
}

/** A video on the host, [rows, frames, height, width], rows being batch × channels. */
export interface HostVideo {
  readonly data: Float32Array;
  readonly rows: number;
  readonly frames: number;
  readonly height: number;
  readonly width: number;
}

/** How one part cuts its input; null when the input is not larger than a tile. */
export function tileAxes(config: VaeConfig, part: "encode" | "decode", shape: VideoShape, tiling: Tiling): TileAxes | null {
  const axis = (name: "height" | "width", sampleDefault: number, overlapDefault: number): Axis => {
    const sample = tiling[`tile_sample_min_${name}`] ?? Math.floor(sampleDefault / 2);
    const overlap = tiling[`tile_overlap_factor_${name}`] ?? overlapDefault;
    const latent = Math.floor(sample / spatialRatio(config));
    const [inner, outer] = part === "encode" ? [sample, latent] : [latent, sample];
    const found = {
      size: inner,
      step: Math.floor(inner * (1 - overlap)),
      blend: Math.floor(outer * overlap),
      keep: outer - Math.floor(outer * overlap),
    };
    if (!(sample > 0 && overlap >= 0 && overlap < 1 && latent > 0 && found.step > 0)) {
      throw new CogwheelError(
        "vae",
        `tiles must be at least ${spatialRatio(config)} pixels and overlap by less than all, ` +
          `got tile_sample_min_${name} ${sample} and tile_overlap_factor_${name} ${overlap}`,
      );
    }
    return found;
  };
  const rows = axis("height", config.sample_height, 1 / 6);
  const columns = axis("width", config.sample_width, 1 / 5);
  return shape.height > rows.size || shape.width > columns.size ? { rows, columns } : null;
}

/** Runs `work` on every tile of `video`, tiles of one size after another, and blends what comes out. */
async function tiled(
  video: HostVideo,
  { rows, columns }: TileAxes,
  work: (tile: HostVideo, done: number) => Promise<HostVideo>,
): Promise<HostVideo> {
  const starts = (length: number, step: number) => Array.from({ length: Math.ceil(length / step) }, (_, i) => i * step);
  const [tops, lefts] = [starts(video.height, rows.step), starts(video.width, columns.step)];
  const cells = tops.flatMap((top, i) =>
    lefts.map((left, j) => ({
      i,
      j,
      top,
      left,
      height: Math.min(rows.size, video.height - top),
      width: Math.min(columns.size, video.width - left),
    })),
  );
  const grid: HostVideo[][] = tops.map(() => []);
  // Programs are kept for one size at a time.
  const ordered = [...cells].sort((a, b) => b.height - a.height || b.width - a.width);
  for (const [n, cell] of ordered.entries())
    grid[cell.i]![cell.j] = await work(crop(video, cell.top, cell.left, cell.height, cell.width), n / ordered.length);

  for (const [i, row] of grid.entries())
    for (const [j, tile] of row.entries()) {
      if (i > 0) blend(grid[i - 1]![j]!, tile, rows.blend, "height");
      if (j > 0) blend(row[j - 1]!, tile, columns.blend, "width");
    }
  const heights = grid.map((row) => Math.min(rows.keep, row[0]!.height));
  const widths = grid[0]!.map((tile) => Math.min(columns.keep, tile.width));
  const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
  const { rows: planes, frames } = grid[0]![0]!;
  const whole: HostVideo = {
    data: new Float32Array(planes * frames * sum(heights) * sum(widths)),
    rows: planes,
    frames,
    height: sum(heights),
    width: sum(widths),
  };
  for (const [i, row] of grid.entries())
    for (const [j, tile] of row.entries()) {
      const [top, left] = [sum(heights.slice(0, i)), sum(widths.slice(0, j))];
      for (let p = 0; p < planes * frames; p++)
        for (let h = 0; h < heights[i]!; h++) {
          const from = (p * tile.height + h) * tile.width;
          whole.data.set(tile.data.subarray(from, from + widths[j]!), (p * whole.height + top + h) * whole.width + left);
        }
    }
  return whole;
}

/** Tiles one after another, their progress as that of the whole. */
export function tileWork<Options extends { readonly signal?: AbortSignal; readonly onProgress?: (done: number) => void }>(
  video: HostVideo,
  axes: TileAxes,
  { onProgress, ...run }: Options,
  work: (tile: HostVideo, options: Omit<Options, "onProgress">) => Promise<HostVideo>,
): Promise<HostVideo> {
  return tiled(video, axes, async (tile, done) => {
    run.signal?.throwIfAborted();
    onProgress?.(done);
    return work(tile, run);
  });
}

function crop(video: HostVideo, top: number, left: number, height: number, width: number): HostVideo {
  const planes = video.rows * video.frames;
  const data = new Float32Array(planes * height * width);
  for (let p = 0; p < planes; p++)
    for (let h = 0; h < height; h++) {
      const from = (p * video.height + top + h) * video.width + left;
      data.set(video.data.subarray(from, from + width), (p * height + h) * width);
    }
  return { ...video, data, height, width };
}

/** Goes over from the end of `before` to the beginning of `tile`, in place, over `extent` rows or columns. */
function blend(before: HostVideo, tile: HostVideo, extent: number, axis: "height" | "width"): void {
  const n = Math.min(before[axis], tile[axis], extent);
  const across = axis === "height" ? tile.width : tile.height;
  for (let p = 0; p < tile.rows * tile.frames; p++)
    for (let i = 0; i < n; i++)
      for (let k = 0; k < across; k++) {
        const at = (video: HostVideo, along: number) =>
          axis === "height" ? (p * video.height + along) * video.width + k : (p * video.height + k) * video.width + along;
        const to = at(tile, i);
        tile.data[to] = before.data[at(before, before[axis] - n + i)]! * (1 - i / n) + tile.data[to]! * (i / n);
      }
}
