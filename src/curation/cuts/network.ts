/** A network that looks at a film's frames and says behind which of them another shot begins. */

/** Rows and columns of the frames that it looks at: TransNet V2's. */
export const NETWORK_FRAME = { width: 48, height: 27 } as const;
/** Bytes of one: red, green and blue. */
export const NETWORK_FRAME_BYTES = 3 * NETWORK_FRAME.width * NETWORK_FRAME.height;

/** A network that says of each frame whether another shot begins behind it, such as {@link shotNetworkOf} makes of TransNet V2. */
export interface ShotNetwork {
  /** What tells it, with its weights, from others: results of another one are not taken for its own. */
  readonly key: string;
  /**
   * For each frame how likely it is, 0 … 1, that the next one is of another shot.
   * @param read frames from `from` up to `to`, which is not in it, {@link NETWORK_FRAME_BYTES} each
   */
  score(frames: number, read: (from: number, to: number) => Promise<Uint8Array>, signal?: AbortSignal): Promise<Float32Array>;
}
