/** What a network says of a film: its frames are made small by a process of the pool, and are read from its file window by window. */
import { open, rm, writeFile } from "node:fs/promises";
import { CogwheelError } from "../../base/errors.ts";
import type { WorkPool } from "../work/pool-node.ts";
import { NETWORK_FRAME, NETWORK_FRAME_BYTES, type ShotNetwork } from "./network.ts";

export interface FilmToScore {
  readonly path: string;
  /** What messages call it. */
  readonly name: string;
  /** How many frames its curves have. */
  readonly frames: number;
  /** Where a float32 of each frame is written. Its folder has the frames meanwhile, in a file that ends in `.part`. */
  readonly to: string;
}

/** @returns the bytes that were written */
export async function scoreFilm(
  pool: Pick<WorkPool, "run">,
  { path, name, frames, to }: FilmToScore,
  network: ShotNetwork,
  signal?: AbortSignal,
): Promise<{ bytes: number }> {
  const small = `${to}.frames.part`;
  try {
    const { bytes } = await pool.run({ path, name, task: { task: "frames", size: NETWORK_FRAME }, to: small });
    if (bytes !== frames * NETWORK_FRAME_BYTES)
      throw new CogwheelError(
        "cut",
        `${name} must have the ${frames} frames that were measured, got ${Number(bytes) / NETWORK_FRAME_BYTES}; ` +
          "it was changed: run it again",
      );
    await using file = await open(small);
    const scores = await network.score(
      frames,
      async (from, until) => {
        const window = new Uint8Array((until - from) * NETWORK_FRAME_BYTES);
        await file.read(window, 0, window.length, from * NETWORK_FRAME_BYTES);
        return window;
      },
      signal,
    );
    await writeFile(to, new Uint8Array(scores.buffer, scores.byteOffset, scores.byteLength));
    return { bytes: scores.byteLength };
  } catch (error) {
    // What the adapter is to blame for says nothing of the film: it is tried again.
    if (error instanceof CogwheelError && error.room !== "scan") throw Object.assign(error, { retry: true });
    throw error;
  } finally {
    await rm(small, { force: true });
  }
}
