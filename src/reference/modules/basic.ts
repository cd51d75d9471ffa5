/** Modules of the reference format that have no weights. */
import { CogwheelError } from "../../errors.ts";
import { TorchGenerator } from "../../random/torch.ts";
import { hostTensor } from "../case.ts";
import type { ReferenceModule } from "../module.ts";

/** More than the noise of any published model's video. */
const MOST = 2 ** 28;

const torchRandn: ReferenceModule = async (c) => {
  const { seed, shape } = c.options;
  if (!Number.isSafeInteger(seed)) throw new CogwheelError("reference", `${c.name}: options.seed must be a whole number up to 2^53 − 1, got ${JSON.stringify(seed)}; use a smaller seed`);
  if (!Array.isArray(shape) || !shape.every((n) => Number.isSafeInteger(n) && (n as number) > 0)) throw new CogwheelError("reference", `${c.name}: options.shape must be a list of positive whole numbers, got ${JSON.stringify(shape)}; correct it`);
  const count = (shape as number[]).reduce((a, b) => a * b, 1);
  if (count > MOST) throw new CogwheelError("reference", `${c.name}: options.shape must hold at most ${MOST} values, got ${count}; make a smaller case`);
  return { sample: hostTensor(new TorchGenerator(seed as number).randn(shape as number[]), shape as number[]) };
};

export const basicModules: Record<string, ReferenceModule> = { "torch.randn": torchRandn };
