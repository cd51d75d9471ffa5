/**
 * Weights that f16 does not hold. A plan is made before they are read, and takes all matrices for f16 where the model is; what that loses
 * is counted on the device while they are loaded. Where it is too much for some, they are f32 from then on, and it is planned anew: only
 * those are read again. Of weights that are streamed it is known when a run is over that had them all; it is run again then.
 */
import { CogwheelError } from "../base/errors.ts";
import type { WeightLoader } from "./weight-loader.ts";
import type { WeightProvider } from "./weight-provider.ts";

/** Thrown by what has loaded such weights. Their provider calls them f32 by then. */
export class Misfit extends CogwheelError {
  constructor(names: readonly string[]) {
    super("weights", `weights must fit f16 to be stored in it, got ${names.join(", ")}, which do not; plan again, with them in f32`);
  }
}

/** Tells a provider what f16 lost of weights that were loaded; the names of those that do not fit. */
export async function judged(loader: WeightLoader, provider: WeightProvider, signal?: AbortSignal): Promise<readonly string[]> {
  const losses = await loader.losses(signal);
  return losses.size ? provider.judge!(losses) : [];
}

/**
 * Does `work`, which asks the weights' provider for their types and brings them; again, where some did not fit.
 * @param before what is done first then
 */
export async function fitting<T>(work: () => Promise<T>, before?: () => void | Promise<void>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      await before?.();
    }
  }
}
