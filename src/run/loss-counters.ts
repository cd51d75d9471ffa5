/** What f16 loses of weights, counted on the device while they are unpacked: a place for each weight. */
import type { Gpu, OwnedBuffer } from "../gpu/gpu.ts";

/** Of one weight; the verdict is `fitsF16` (src/files/float16-loss.ts), which means the same by these names. */
export interface LossCount {
  /** Finite values that become infinite. */
  readonly overflow: number;
  /** Values other than zero that become zero. */
  readonly underflow: number;
  /** Infinities and NaN. */
  readonly nonFinite: number;
  /** ‖f16 − value‖² and ‖value‖² over the values that do not overflow, summed in f32 in up to 30 parts, which are added up in f64. */
  readonly squaredError: number;
  readonly squaredNorm: number;
}

/** Bytes of a place: three counts, then 30 pairs of sums. */
const PLACE = 256;
const SUMS = 30;
/** The kernels' values are times 2^32, or squares of small ones would be zero. */
const SCALE = 2 ** -64;

export class LossCounters implements Disposable {
  readonly #owned: OwnedBuffer;

  /** @param places how many weights are counted; all counts are 0 */
  constructor(
    private readonly gpu: Gpu,
    readonly places: number,
  ) {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC;
    this.#owned = gpu.buffer("loss", places * PLACE, usage);
  }

  /** What `UnpackPart.loss` takes for a weight. */
  place(index: number): GPUBufferBinding {
    return { buffer: this.#owned.buffer, offset: index * PLACE, size: PLACE };
  }

  /** The counts, once all work that was submitted before is done. */
  async read(signal?: AbortSignal): Promise<LossCount[]> {
    const data = await this.gpu.read(this.#owned.buffer, 0, this.places * PLACE, signal);
    return Array.from({ length: this.places }, (_, index): LossCount => {
      const [overflow, underflow, nonFinite] = new Uint32Array(data, index * PLACE, 3) as unknown as [number, number, number];
      const sums = new Float32Array(data, index * PLACE + 16, 2 * SUMS);
      let [squaredError, squaredNorm] = [0, 0];
      for (let i = 0; i < sums.length; i += 2) {
        squaredError += sums[i]! * SCALE;
        squaredNorm += sums[i + 1]! * SCALE;
      }
      // All that there is was so small that its squares are zero even so: everything is lost.
      if (underflow > 0 && squaredNorm === 0) squaredError = squaredNorm = 2 ** -200;
      return { overflow, underflow, nonFinite, squaredError, squaredNorm };
    });
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}
