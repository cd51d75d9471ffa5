/** Values of states that come from elsewhere: of a run's leader, or of what its replica goes on from. */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { States } from "../run/states.ts";

/** Writes what a state is to hold; throws where that is not as many values as it has. @param what wants them, for the error */
export function writeGiven(gpu: Gpu, states: States, name: string, values: Float32Array | Uint32Array | undefined, what: string): void {
  const { size } = states.tensors.get(name)!;
  if (values?.length !== size)
    throw new CogwheelError("training", `${what} must have ${size} values of ${name}, got ${values?.length ?? "none"}; begin the run anew`);
  gpu.device.queue.writeBuffer(states.buffer(name), 0, values as Float32Array<ArrayBuffer>);
}
