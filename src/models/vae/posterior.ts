/** The encoder's answer: a Gaussian with a variance of its own for every latent. */
import { CogwheelError } from "../../base/errors.ts";

export class LatentPosterior {
  constructor(
    /** [B, Z, T, H, W] */
    readonly mean: Float32Array,
    /** Logarithm of the variance, clamped to −30…20. */
    readonly logvar: Float32Array,
    readonly shape: readonly [number, number, number, number, number],
  ) {}

  /** From moments [B, 2Z, T, H, W]: all means, then all log-variances. */
  static fromMoments(moments: Float32Array, [b, twoZ, t, h, w]: readonly [number, number, number, number, number]): LatentPosterior {
    const z = twoZ / 2;
    const block = z * t * h * w;
    const mean = new Float32Array(b * block);
    const logvar = new Float32Array(b * block);
    for (let i = 0; i < b; i++) {
      mean.set(moments.subarray(2 * i * block, (2 * i + 1) * block), i * block);
      logvar.set(moments.subarray((2 * i + 1) * block, (2 * i + 2) * block), i * block);
    }
    for (let i = 0; i < logvar.length; i++) logvar[i] = Math.min(20, Math.max(-30, logvar[i]!));
    return new LatentPosterior(mean, logvar, [b, z, t, h, w]);
  }

  /** mean + standard deviation · noise; `noise` is a standard normal draw of the mean's shape. */
  sample(noise: Float32Array): Float32Array {
    if (noise.length !== this.mean.length)
      throw new CogwheelError(
        "vae",
        `the noise must have the latents' ${this.mean.length} values [${this.shape.join(", ")}], ` +
          `got ${noise.length}; draw it for this shape`,
      );
    return this.mean.map((mean, i) => mean + Math.exp(0.5 * this.logvar[i]!) * noise[i]!);
  }

  /** The most probable latents. */
  mode(): Float32Array {
    return this.mean;
  }
}
