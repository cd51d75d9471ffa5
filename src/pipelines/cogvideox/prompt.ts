/** Prompts to what the transformer reads of them. */
import { CHECK_FINITE, expectFinite } from "../../base/finite.ts";
import { T5Encoder } from "../../models/t5/model.ts";
import { defined } from "../options.ts";
import { concat, loading, running, type Run } from "./running.ts";
import { plansOf, residenceKey } from "./stages.ts";

/** Of a prompt's end that was cut off, so many characters are told. */
const CUT = 300;

/**
 * [2n or n, T, E]: with guidance the negative prompts first. Unless parts are kept, the text encoder
 * is gone again before the transformer is loaded.
 */
export async function encodePrompt(run: Run): Promise<Float32Array> {
  const { request, options, clock } = run;
  const { model, plan } = request;
  const { shape, ready } = plan;
  if (ready) return ready.text.data;
  const length = shape.textLength;
  const tokenizer = await model.files.tokenizer();
  const texts = shape.guidance ? [options.negative ?? "", options.prompt] : [options.prompt];
  const ids = new Int32Array(texts.length * length);
  texts.forEach((text, i) => {
    const encoded = tokenizer.encode(text, length);
    if (encoded.cut !== null)
      options.onWarning?.(
        `[generate] a prompt may have ${length} tokens; cut off: ` +
          JSON.stringify(encoded.cut.slice(0, CUT)) +
          (encoded.cut.length > CUT ? ` and ${encoded.cut.length - CUT} characters more` : ""),
      );
    ids.set(encoded.ids, i * length);
  });
  using held = await clock.time("load text encoder", (report) =>
    model.parts.hold("text_encoder", `${texts.length} × ${length}${residenceKey(plan.stages, "text encoder")}`, async () =>
      T5Encoder.create(model.gpu, model.configs.text, await model.files.weights("text_encoder", options), {
        batch: texts.length,
        length,
        dtype: model.dtype,
        ...defined({ plan: plansOf(plan.stages, "text encoder")[0] }),
        ...loading(run, report),
      }),
    ),
  );
  const encoded = await clock.time("encode prompt", (report) => held.part.encode(ids, { ...running(run), onProgress: report }));
  expectFinite(encoded, "generate", "what the text encoder makes of the prompt", CHECK_FINITE);
  return repeatEach(encoded, texts.length, shape.samples);
}

/** Each of `parts` equal parts, `times` times one after another. */
function repeatEach(data: Float32Array, parts: number, times: number): Float32Array {
  const size = data.length / parts;
  return concat(
    Array.from({ length: parts * times }, (_, i) => data.subarray(Math.floor(i / times) * size, (Math.floor(i / times) + 1) * size)),
  );
}
