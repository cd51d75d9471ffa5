/** The whole transformer. */
import { CogwheelError } from "../../../base/errors.ts";
import { parseTransformerConfig } from "../../../models/cogvideox/config.ts";
import { recordTransformer } from "../../../models/cogvideox/forward.ts";
import { transformerWeights } from "../../../models/cogvideox/weights.ts";
import { agree, expectCaseWeights, inputOf } from "../case.ts";
import { Layout } from "../layout.ts";
import type { ReferenceModule } from "../module.ts";
import type { HostTensor } from "../reference-case.ts";
import { runOnce } from "../run-once.ts";
import { transformerGuide } from "../trace/transformer.ts";
import { liveLoras, mergedLoras } from "./loras.ts";

const transformer: ReferenceModule = async (c, context) => {
  const [latents, text, timestep] = [inputOf(c, "hidden_states", 5), inputOf(c, "encoder_hidden_states", 3), inputOf(c, "timestep", 1)];
  const ofs = c.inputs.has("ofs") ? inputOf(c, "ofs", 1) : undefined;
  const config = parseTransformerConfig(c.config, c.name);
  const batch = latents.shape[0]!;
  const spread = (t: HostTensor) => Float32Array.from({ length: batch }, (_, i) => t.data[i % t.data.length]!);
  if (timestep.data.length !== batch && timestep.data.length !== 1)
    throw new CogwheelError(
      "reference",
      `${c.name}: input.timestep must have one value, or one for each of ${batch}, got ${timestep.data.length}; make the case again`,
    );
  agree(c, { hidden_states: [latents, "bfchw"], encoder_hidden_states: [text, "btd"] });
  expectCaseWeights(c, context.weights(), transformerWeights(config));
  // Merged as when one generates, or beside the weights as when one trains.
  const live = c.gradients.size > 0 ? await liveLoras(c) : undefined;
  return runOnce(c, context, {
    inputs: {
      latents: Layout.inOrder("input.hidden_states", latents.shape),
      text: Layout.inOrder("input.encoder_hidden_states", text.shape),
    },
    values: { timestep: spread(timestep), ...(ofs ? { ofs: spread(ofs) } : {}), ...live?.factors },
    ...(live ? { weight: live.weight } : await mergedLoras(c)),
    guide: transformerGuide(),
    build: (g, inputs) => ({
      sample: recordTransformer(
        g,
        config,
        {
          latents: inputs["latents"]!,
          text: inputs["text"]!,
          timestep: g.input("timestep", [batch]),
          ...(ofs ? { ofs: g.input("ofs", [batch]) } : {}),
        },
        context.dtype,
        live?.loras,
      ),
    }),
  });
};

export const transformerModules: Record<string, ReferenceModule> = { CogVideoXTransformer3DModel: transformer };
