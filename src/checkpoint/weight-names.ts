/** How the files of a component's weights are called. */

/** Name variants that are tried when a folder has no weights under the plain name. */
export const KNOWN_VARIANTS = ["fp16", "bf16"] as const;

/** A path in a component's folder. */
export function join(folder: string, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

/** The name of weights that are in one file. */
export function singleName(base: string, variant: string | null): string {
  return `${base}.${variant === null ? "" : `${variant}.`}safetensors`;
}

/** Diffusers and transformers put the variant before `.json`; some older uploads put it where a single file has it. */
export function indexNames(base: string, variant: string | null): string[] {
  return variant === null
    ? [`${base}.safetensors.index.json`]
    : [`${base}.safetensors.index.${variant}.json`, `${base}.${variant}.safetensors.index.json`];
}
