/** What judges a VAE's pictures: LPIPS and 3-D patch discriminators. */
import { CogwheelError } from "../../../base/errors.ts";
import {
  discriminatorWeights,
  parseDiscriminatorConfig,
  runningStatistics as runningShapes,
} from "../../../models/discriminator/config.ts";
import { recordDiscriminator, type RecordedLevel } from "../../../models/discriminator/forward.ts";
import { recordDiscriminatorTangent } from "../../../models/discriminator/tangent.ts";
import { recordLpips } from "../../../models/lpips/forward.ts";
import { lpipsNetwork } from "../../../models/lpips/layers.ts";
import { channelsFirst, channelsLast } from "../../../ops/channels.ts";
import { agree, expectCaseWeights, inputOf } from "../case.ts";
import { Layout } from "../layout.ts";
import type { ReferenceModule } from "../module.ts";
import { runOnce } from "../run-once.ts";

const lpips: ReferenceModule = async (c, context) => {
  const [in0, in1] = [inputOf(c, "in0", 4), inputOf(c, "in1", 4)];
  agree(c, { in0: [in0, "NCHW"], in1: [in1, "NCHW"] });
  const [n, channels, height, width] = in0.shape as [number, number, number, number];
  if (channels !== 3)
    throw new CogwheelError("reference", `${c.name}: input.in0 must have 3 channels, got ${channels}; make the case again`);
  const network = lpipsNetwork((name) => context.weights().shape(name));
  return runOnce(c, context, {
    inputs: { in0: Layout.inOrder("input.in0", in0.shape), in1: Layout.inOrder("input.in1", in1.shape) },
    build: (graph, inputs) => {
      const [a, b] = ["in0", "in1"].map((name) => graph.reshape(channelsLast(inputs[name]!), [n, 1, height, width, 4]));
      return { sample: graph.reshape(recordLpips(network, a!, b!), [n, 1, 1, 1]) };
    },
  });
};

const discriminator: ReferenceModule = async (c, context) => {
  const x = inputOf(c, "x", 5);
  const config = parseDiscriminatorConfig(c.config, c.name);
  const { train = false } = c.options;
  if (typeof train !== "boolean")
    throw new CogwheelError("reference", `${c.name}: options.train must be true or false, got ${JSON.stringify(train)}; correct it`);
  expectCaseWeights(c, context.weights(), new Map([...discriminatorWeights(config), ...(train ? [] : runningShapes(config))]));
  return runOnce(c, context, {
    inputs: { x: Layout.inOrder("input.x", x.shape) },
    build: (_, inputs) => ({
      sample: channelsFirst(recordDiscriminator(config, channelsLast(inputs["x"]!), { dtype: context.dtype, train }), 1),
    }),
  });
};

/** In f32 whatever the storage, as steps that are penalised are. */
const tangent: ReferenceModule = async (c, context) => {
  const [x, v] = [inputOf(c, "x", 5), inputOf(c, "v", 5)];
  agree(c, { x: [x, "BCTHW"], v: [v, "BCTHW"] });
  const config = parseDiscriminatorConfig(c.config, c.name);
  expectCaseWeights(c, context.weights(), discriminatorWeights(config));
  return runOnce(
    c,
    { ...context, dtype: "f32" },
    {
      inputs: { x: Layout.inOrder("input.x", x.shape), v: Layout.inOrder("input.v", v.shape) },
      build(_, inputs) {
        const levels: RecordedLevel[] = [];
        recordDiscriminator(config, channelsLast(inputs["x"]!), { onLevel: (level) => void levels.push(level) });
        return { sample: channelsFirst(recordDiscriminatorTangent(config, levels, channelsLast(inputs["v"]!)), 1) };
      },
    },
  );
};

export const lossModules: Record<string, ReferenceModule> = {
  LPIPS: lpips,
  NLayerDiscriminator3D: discriminator,
  "NLayerDiscriminator3D.jvp": tangent,
};
