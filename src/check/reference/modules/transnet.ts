/** The shot-boundary detector TransNet V2. */
import { CogwheelError } from "../../../base/errors.ts";
import { parseTransNetConfig } from "../../../models/transnet/config.ts";
import { HISTOGRAM_BINS, PICTURE, recordTransNet, transNetInputs, transNetWeights } from "../../../models/transnet/forward.ts";
import { expectCaseWeights, inputOf } from "../case.ts";
import { Layout } from "../layout.ts";
import type { ReferenceModule } from "../module.ts";
import { runOnce } from "../run-once.ts";

const transNet: ReferenceModule = async (c, context) => {
  const { shape, data } = inputOf(c, "inputs", 5);
  const frames = shape[1]!;
  const wanted = [1, frames, PICTURE.height, PICTURE.width, 3];
  if (shape.join() !== wanted.join())
    throw new CogwheelError(
      "reference",
      `${c.name}: input.inputs must be [${wanted.join(", ")}], got [${shape.join(", ")}]; give one film of that size`,
    );
  const config = parseTransNetConfig(c.config, `${c.name}: config`);
  expectCaseWeights(c, context.weights(), transNetWeights(config));
  const column = (at: number) => ({ shape: [1, frames, 1], at: ([, frame]: readonly number[]) => 4 * frame! + at });
  return runOnce(c, context, {
    inputs: {},
    values: transNetInputs(Uint8Array.from(data)),
    outputs: { logits: new Layout([frames, 4], { one_hot: column(0), many_hot: column(1) }) },
    build: (graph) => {
      const pixels = graph.input("pixels", [1, frames, PICTURE.height, PICTURE.width, 4]);
      const histograms = graph.input("histograms", [frames, HISTOGRAM_BINS]);
      return { logits: recordTransNet(graph, config, pixels, histograms, context.dtype) };
    },
  });
};

export const transNetModules: Record<string, ReferenceModule> = { TransNetV2: transNet };
