/** How long a sequence the transformer can attend over on an adapter. */
import { CogwheelError } from "../../base/errors.ts";
import { bytesText } from "../../base/units.ts";
import { PANEL } from "../../graph/packing.ts";
import type { DenoiseShape } from "../../models/cogvideox/model.ts";
import type { Model } from "./model.ts";

/**
 * Throws where the transformer would attend over more tokens than the adapter can be given at once: a dispatch binds a head's values of all
 * of them. @param shape what is denoised
 */
export function refuseIfTooLong(
  { configs: { transformer }, dtype, gpu, rules }: Pick<Model, "configs" | "dtype" | "gpu" | "rules">,
  { frames, height, width, textLength }: DenoiseShape,
): void {
  const { spatial, temporal, patchSize, patchSizeT } = rules;
  const tokenBytes = transformer.attention_head_dim * (dtype === "f16" ? 2 : 4);
  const most = Math.floor(gpu.caps.maxBindingBytes / tokenBytes / PANEL) * PANEL;
  const ofPatch = Math.ceil(height / patchSize) * Math.ceil(width / patchSize);
  const tokens = textLength + (frames / patchSizeT) * ofPatch;
  if (tokens <= most) return;
  const latents = Math.floor((most - textLength) / ofPatch) * patchSizeT;
  const longest = latents % 2 ? temporal * (latents - 1) + 1 : temporal * latents;
  throw new CogwheelError(
    "generate",
    `the transformer may attend over ${most} tokens on this adapter, which binds ${bytesText(gpu.caps.maxBindingBytes, 1)} at once, ` +
      `got ${tokens} of ${width * spatial} × ${height * spatial} and this many frames; ` +
      `${longest > 0 ? `at this size the most frames are ${longest}, or ` : ""}choose a smaller size`,
    { code: "out-of-memory" },
  );
}
