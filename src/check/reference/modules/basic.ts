/** Modules of the reference format that have no weights. */
import { brief } from "../../../base/brief.ts";
import { CogwheelError } from "../../../base/errors.ts";
import { TorchGenerator } from "../../../diffusion/torch-random.ts";
import { hostTensor } from "../case.ts";
import type { ReferenceModule } from "../module.ts";

const torchRandn: ReferenceModule = async (c) => {
  const { seed, shape } = c.options;
  if (!Number.isSafeInteger(seed))
    throw new CogwheelError(
      "reference",
      `${c.name}: options.seed must be a whole number up to 2^53 − 1, got ${JSON.stringify(seed)}; use a smaller seed`,
    );
  if (!Array.isArray(shape) || !shape.every((n) => Number.isSafeInteger(n) && (n as number) > 0))
    throw new CogwheelError(
      "reference",
      `${c.name}: options.shape must be a list of positive whole numbers, got ${JSON.stringify(shape)}; correct it`,
    );
  // A file of a kilobyte may ask for as many draws as it likes; only those that it can be compared with are made.
  const want = c.outputs.get("sample");
  if (want?.shape.join() !== shape.join())
    throw new CogwheelError(
      "reference",
      `${c.name}: options.shape must be the shape of output.sample, ` +
        `got ${brief(shape)} and ${want ? `[${want.shape.join(", ")}]` : "none"}; make the case again`,
    );
  return { sample: hostTensor(new TorchGenerator(seed as number).randn(shape as number[]), shape as number[]) };
};

export const basicModules: Record<string, ReferenceModule> = { "torch.randn": torchRandn };
