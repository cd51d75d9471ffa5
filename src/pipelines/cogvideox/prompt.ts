/** Prompts to what the transformer reads of them. */
import { CHECK_FINITE, expectFinite } from "../../base/finite.ts";
import { T5Encoder } from "../../models/t5/model.ts";
import { defined } from "../options.ts";
import type { Model } from "./model.ts";
import { concat, loading, running, type Run } from "./running.ts";
import { plansOf, residenceKey } from "./stages.ts";

/** Of a prompt's end that was cut off, so many characters are told. */
const CUT = 300;

/**
 * [2n or n, T, E]: with guidance the negative prompts first. Of prompts that were encoded before the result may be there still, and no
 * encoder is loaded. Else it is gone again before the transformer is loaded, unless parts are kept.
 */
export async function encodePrompt(run: Run): Promise<Float32Array> {
  const { request, options, clock } = run;
  const { model, plan } = request;
  const { shape, ready } = plan;
  if (ready) return ready.text.data;
  const length = shape.textLength;
  const texts = shape.guidance ? [options.negative ?? "", options.prompt] : [options.prompt];
  if (options.share?.promptEmbeds) return repeatEach(options.share.promptEmbeds, texts.length, shape.samples);
  const ids = await idsOf(run, texts);
  const cache = await promptCache();
  const key = options.cache === false ? undefined : await keyOf(run, ids);
  const encodedShape = [texts.length, length, model.configs.text.d_model];
  const found = key === undefined ? undefined : await cache.findPrompt(key, encodedShape);
  if (found) await clock.time("encode prompt", async (report) => report(1));
  const encoded = found ?? (await encode(run, ids, texts.length));
  expectFinite(encoded, "generate", "what the text encoder makes of the prompt", CHECK_FINITE);
  if (key !== undefined && !found) await cache.keepPrompt(key, encoded, encodedShape, { prompts: texts, model: model.files.label });
  return repeatEach(encoded, texts.length, shape.samples);
}

/** A chunk of its own: a page that goes on from latents encodes nothing. */
const promptCache = () => import("../prompt-cache.ts");

/** [texts, T] */
async function idsOf({ request, options }: Run, texts: readonly string[]): Promise<Int32Array> {
  const length = request.plan.shape.textLength;
  const tokenizer = await request.model.files.tokenizer();
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
  return ids;
}

async function encode(run: Run, ids: Int32Array, batch: number): Promise<Float32Array> {
  const { request, options, clock } = run;
  const { model, plan } = request;
  const length = plan.shape.textLength;
  using held = await clock.time("load text encoder", (report) =>
    model.parts.hold("text_encoder", `${batch} × ${length}${residenceKey(plan.stages, "text encoder")}`, async () =>
      T5Encoder.create(model.gpu, model.configs.text, await model.files.weights("text_encoder", options), {
        batch,
        length,
        dtype: model.dtype,
        ...defined({ plan: plansOf(plan.stages, "text encoder")[0] }),
        ...loading(run, report),
      }),
    ),
  );
  return await clock.time("encode prompt", (report) => held.part.encode(ids, { ...running(run), onProgress: report }));
}

/**
 * The digest of all that an encoder's result follows from, to the bit: the ids, its config and files, which kernels run in which order on
 * what, and the adapter. Undefined where nobody can tell whether its files are the same.
 */
async function keyOf({ request: { model, plan } }: Run, ids: Int32Array): Promise<string | undefined> {
  const version = await model.files.version("text_encoder");
  if (version === null) return undefined;
  return await (await promptCache()).promptKey([[...ids], version, model.configs.text, model.dtype, kernelsOf(model, plan.stages)]);
}

/** Weights that are streamed give the same bytes as those that stay. */
function kernelsOf({ gpu }: Model, stages: Run["request"]["plan"]["stages"]): unknown {
  return plansOf(stages, "text encoder").map(({ steps, weights, streamed }) => [
    gpu.tuningHeader,
    steps.map(({ label }) => label),
    [...weights.keys(), ...streamed.keys()].sort(),
  ]);
}

/** Each of `parts` equal parts, `times` times one after another. */
function repeatEach(data: Float32Array, parts: number, times: number): Float32Array {
  const size = data.length / parts;
  return concat(
    Array.from({ length: parts * times }, (_, i) => data.subarray(Math.floor(i / times) * size, (Math.floor(i / times) + 1) * size)),
  );
}
