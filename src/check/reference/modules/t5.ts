/** T5's modules of the reference format: the encoder and the tokenizer. */
import { T5Tokenizer } from "../../../text/t5-tokenizer.ts";
import { CogwheelError } from "../../../base/errors.ts";
import { parseT5Config } from "../../../models/t5/config.ts";
import { expectedT5Weights } from "../../../models/t5/weights.ts";
import { T5Encoder } from "../../../models/t5/model.ts";
import { expectCaseWeights, hostTensor, inputOf, refuseGradients } from "../case.ts";
import type { ReferenceModule } from "../module.ts";
import { t5Guide } from "../trace/t5.ts";

const t5Encoder: ReferenceModule = async (c, context) => {
  refuseGradients(c, "rms_norm");
  const config = parseT5Config(c.config, `${c.name}: config`);
  const ids = inputOf(c, "input_ids", 2);
  const [batch, length] = ids.shape as [number, number];
  const given = context.weights();
  // The embedding is tied: a case may hold it under either name.
  const tied = (name: string): string => (name === "shared.weight" && !given.shape(name) ? "encoder.embed_tokens.weight" : name);
  const weights = {
    type: (name: string) => given.type(tied(name)),
    shape: (name: string) => given.shape(tied(name)),
    stored: (name: string) => given.stored(tied(name)),
  };
  expectCaseWeights(c, weights, expectedT5Weights(config));
  using encoder = await T5Encoder.create(context.gpu, config, weights, { batch, length, dtype: context.dtype });
  const states = await encoder.encode(Int32Array.from(ids.data), { checkFinite: context.checkFinite, ...context.follow(t5Guide) });
  return { last_hidden_state: hostTensor(states, [batch, length, config.d_model]) };
};

const t5Tokenizer: ReferenceModule = async (c) => {
  const { text, max_length } = c.options;
  const model = c.weights.get("spiece_model");
  if (!model)
    throw new CogwheelError("reference", `${c.name}: T5Tokenizer needs the model file's bytes, got no weight.spiece_model; add it as U8`);
  if (!Array.isArray(text) || !text.every((t) => typeof t === "string"))
    throw new CogwheelError("reference", `${c.name}: options.text must be a list of strings, got ${JSON.stringify(text)}; correct it`);
  const tokenizer = new T5Tokenizer(Uint8Array.from(model.data), { file: c.name });
  if (!Number.isInteger(max_length) || (max_length as number) < 1 || (max_length as number) > 65536)
    throw new CogwheelError(
      "reference",
      `${c.name}: options.max_length must be a whole number from 1 to 65536, got ${JSON.stringify(max_length)}; correct it`,
    );
  const length = max_length as number;
  // Rows cost a file a few bytes each; only those that it can be compared with are made.
  const want = c.outputs.get("input_ids");
  if (want?.shape.join() !== [text.length, length].join())
    throw new CogwheelError(
      "reference",
      `${c.name}: output.input_ids must be [${text.length}, ${length}] for these texts and max_length, ` +
        `got ${want ? `[${want.shape.join(", ")}]` : "none"}; make the case again`,
    );
  const rows = (text as string[]).map((t) => tokenizer.encode(t, length).ids);
  return { input_ids: hostTensor(Float32Array.from(rows.flatMap((row) => [...row])), [rows.length, length]) };
};

export const t5Modules: Record<string, ReferenceModule> = { T5EncoderModel: t5Encoder, T5Tokenizer: t5Tokenizer };
