/** What a file is that was dropped on the page, told by its bytes. */
import { CogwheelError } from "../src/base/errors.ts";
import { isGguf, openGguf } from "../src/files/gguf.ts";
import { openSafetensors } from "../src/files/safetensors.ts";
import { madeWith } from "../src/pipelines/made-with-file.ts";
import { fileKind, KIND_BYTES } from "../src/sources/file-kind.ts";
import { filesSource } from "../src/sources/picked.ts";
import { sniff } from "../src/video/read/sniff.ts";
import type { Identified } from "./protocol.ts";

/** By what names of weights say, the first that fits: an adapter has the names of what it changes. */
const WEIGHTS: readonly (readonly [RegExp, Extract<Identified, { kind: "weights" }>["part"]])[] = [
  [/\.lora_|lora_[AB]\b|\.lora\./i, "adapter"],
  [/(^|\.)transformer_blocks\.|^patch_embed\./, "transformer"],
  [/^(encoder\.block\.|shared\.weight|enc\.blk\.)/, "textEncoder"],
  [/^(encoder|decoder)\.(conv_in|down_blocks|up_blocks|mid_block)\b/, "vae"],
];

/** Results that are read whole, to be asked what they were made with. */
const MOST = 2 ** 29;

export async function identify(file: File): Promise<Identified> {
  const head = new Uint8Array(await file.slice(0, Math.max(1024, KIND_BYTES)).arrayBuffer());
  const source = filesSource(new Map([[file.name, file]]), "what was dropped");
  const gguf = isGguf(head);
  if (gguf || fileKind(head)?.name === "a safetensors file") {
    const { tensors } = gguf ? await openGguf(source, file.name) : await openSafetensors(source, file.name);
    const names = [...tensors.keys()];
    const [, part] = WEIGHTS.find(([pattern]) => names.some((name) => pattern.test(name))) ?? [];
    if (part) return { kind: "weights", part };
    throw new CogwheelError(
      "checkpoint",
      `weights must be of a CogVideoX transformer, its text encoder, its VAE or an adapter, got ${file.name} with ` +
        `${names.length} tensors such as ${names[0] ?? "none"}; check which file it is`,
    );
  }
  const media = sniff(head);
  if (typeof media === "object") {
    if (file.type.startsWith("image/")) return { kind: "picture" }; // one that this browser may know
    throw new CogwheelError("video", `${file.name} must be a picture, a film, or a model’s weights, got ${media.name}; ${media.remedy}`);
  }
  const made = file.size <= MOST ? madeWith(new Uint8Array(await file.arrayBuffer()), file.name) : undefined;
  if (made) return { kind: "result", made: made as Record<string, unknown> };
  return { kind: media === "film" || media === "gif" ? "film" : "picture" };
}
