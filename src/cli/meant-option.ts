/** What people of other programs type blindly, and what does that here. */
import { DIFFUSERS_NAMES } from "../pipelines/options/diffusers-names.ts";
import { optionOf } from "../pipelines/options/table.ts";

const PROMPT = 'the prompt is the first argument: `cogwheel "a red circle"`';
/** Options of stable-diffusion.cpp's `sd`, llama.cpp and their like. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  "-p": PROMPT,
  "--prompt": PROMPT,
  "-W": "--size WIDTHxHEIGHT",
  "--width": "--size WIDTHxHEIGHT",
  "-H": "--size WIDTHxHEIGHT",
  "--height": "--size WIDTHxHEIGHT",
  "-n": "--negative",
  "-b": "--samples",
  "--batch-count": "--samples",
  "--cfg-scale": "--guidance",
  "--hf-repo": "--model",
  "-i": "--image",
  "--init-img": "--image",
  "--output": "--out",
  "--sampling-method": "--scheduler",
  "--video-frames": "--frames",
};

/** What `generate` calls an option that it does not know, or how it is said here; undefined where nobody calls anything so. */
export function meantOption(given: string): string | undefined {
  if (Object.hasOwn(ELSEWHERE, given)) return ELSEWHERE[given];
  const name = given.replace(/^--/, "").replaceAll("-", "_");
  return Object.hasOwn(DIFFUSERS_NAMES, name) ? optionOf(DIFFUSERS_NAMES[name]!).flag?.split(" ")[0] : undefined;
}
