/**
 * Weights that f16 does not hold. A plan is made before they are read, and takes all matrices for f16 where the model is; what that loses
 * is counted on the device while they are loaded. Where it is too much for some, they are f32 from then on, and it is planned anew: only
 * those are read again.
 */
import { CogwheelError } from "../base/errors.ts";

/** Thrown by what has loaded such weights. Their provider calls them f32 by then. */
export class Misfit extends CogwheelError {
  constructor(names: readonly string[]) {
    super("weights", `weights must fit f16 to be stored in it, got ${names.join(", ")}, which do not; plan again, with them in f32`);
  }
}

/** Does `work`, which asks the weights' provider for their types and loads them; again, where some did not fit. */
export async function fitting<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
    }
  }
}
