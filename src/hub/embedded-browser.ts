/**
 * The model that comes with the package, in a page. Each of its files is named in the way that bundlers follow, so that those that do
 * bring it along, under a name of theirs; where the package lies unbundled the names are true as they stand.
 */
import { CogwheelError } from "../base/errors.ts";
import { httpSource } from "../sources/http.ts";
import { isPageType } from "../sources/http-page.ts";
import type { CheckpointSource } from "../sources/source.ts";

/** As seen from `src/hub/` and, in the package, from the folder of its chunks. */
const FILES: Readonly<Record<string, URL>> = {
  "model_index.json": new URL("../../models/moving-shapes/model_index.json", import.meta.url),
  "generation.json": new URL("../../models/moving-shapes/generation.json", import.meta.url),
  "scheduler/scheduler_config.json": new URL("../../models/moving-shapes/scheduler/scheduler_config.json", import.meta.url),
  "text_encoder/config.json": new URL("../../models/moving-shapes/text_encoder/config.json", import.meta.url),
  "text_encoder/model.safetensors": new URL("../../models/moving-shapes/text_encoder/model.safetensors", import.meta.url),
  "tokenizer/spiece.model": new URL("../../models/moving-shapes/tokenizer/spiece.model", import.meta.url),
  "tokenizer/tokenizer_config.json": new URL("../../models/moving-shapes/tokenizer/tokenizer_config.json", import.meta.url),
  "transformer/config.json": new URL("../../models/moving-shapes/transformer/config.json", import.meta.url),
  "transformer/diffusion_pytorch_model.safetensors": new URL(
    "../../models/moving-shapes/transformer/diffusion_pytorch_model.safetensors",
    import.meta.url,
  ),
  "vae/config.json": new URL("../../models/moving-shapes/vae/config.json", import.meta.url),
  "vae/diffusion_pytorch_model.safetensors": new URL("../../models/moving-shapes/vae/diffusion_pytorch_model.safetensors", import.meta.url),
};
const LABEL = "moving-shapes";

const notThere = (got: string): CogwheelError =>
  new CogwheelError(
    "checkpoint",
    "without a name the embedded model is opened, which must be served where the package or its bundler puts it, " +
      `got ${got}; copy the package's models/moving-shapes to the site and pass its URL`,
  );

/** Small files may have become `data:` URLs; weights lie somewhere. */
export function embeddedSource(): CheckpointSource {
  const weights = FILES["vae/diffusion_pytorch_model.safetensors"]!;
  if (!/^https?:$/.test(weights.protocol)) throw notThere(`an address of ${weights.protocol}`);
  const base = new URL(`${LABEL}/`, weights);
  const fetchFile: typeof globalThis.fetch = async (asked, init) => {
    const path = decodeURIComponent(String(asked).slice(base.href.length));
    const at = Object.hasOwn(FILES, path) ? FILES[path] : undefined;
    return at ? await fetch(at, init) : new Response(null, { status: 404 });
  };
  return httpSource(
    base.href,
    { fetch: fetchFile },
    {
      label: LABEL,
      // A server that answers every path with its page has none of them either.
      refusal: (path, { status, headers }) =>
        Object.hasOwn(FILES, path) && (status === 404 || status === 410 || isPageType(headers.get("content-type")))
          ? notThere(`${status === 200 ? "a web page" : status} for ${FILES[path]!.href.slice(0, 200)}`)
          : undefined,
    },
  );
}
