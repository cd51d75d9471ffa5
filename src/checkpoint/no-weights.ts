/** What is said where a component has no weights that can be read. A chunk of its own: most pages never come to it. */
import type { CogwheelError } from "../base/errors.ts";
import { fileKind, KIND_BYTES, type FileKind } from "../sources/file-kind.ts";
import { checkpointError, type CheckpointSource } from "../sources/source.ts";
import { indexNames, join, KNOWN_VARIANTS, singleName } from "./weight-names.ts";

/** A file beside the config that holds weights of another format, named as what it is; a source that cannot list has none. */
async function foreignWeights(source: CheckpointSource, folder: string): Promise<FileKind | undefined> {
  const files = await source.list().catch(() => []);
  const found = files.find(
    ({ path }) =>
      path.slice(0, Math.max(0, path.lastIndexOf("/"))) === folder &&
      /\.(?:bin|pt|pth|ckpt|pkl|gguf|ggml|onnx|npz|npy|h5|msgpack|tflite|pb|sft|zip|tar|gz)$/i.test(path),
  );
  if (!found) return undefined;
  const kind = fileKind(await source.read(found.path, 0, Math.min(found.size, KIND_BYTES)));
  return {
    name: `${found.path.slice(found.path.lastIndexOf("/") + 1)}${kind ? `, ${kind.name}` : ""}`,
    remedy: kind?.remedy ?? "download the .safetensors files",
  };
}

/** The error when no safetensors was found: another variant, PyTorch's pickles, or nothing. */
export async function noWeights(
  source: CheckpointSource,
  folder: string,
  base: string,
  variant: string | undefined,
): Promise<CogwheelError> {
  const at = folder === "" ? "." : folder;
  const exists = (name: string): Promise<boolean> => source.exists(join(folder, name));
  if (variant !== undefined) {
    for (const other of [null, ...KNOWN_VARIANTS]) {
      if (other === variant) continue;
      for (const name of [singleName(base, other), ...indexNames(base, other)]) {
        if (!(await exists(name))) continue;
        return checkpointError(
          source,
          at,
          `the variant ${JSON.stringify(variant)} must have its own files, got ${name} only; ` +
            `${other === null ? "leave the variant out" : `ask for the variant ${JSON.stringify(other)}`}`,
        );
      }
    }
  }
  const pickles = [base, "pytorch_model"].flatMap((name) => [`${name}.bin`, `${name}.bin.index.json`, `${name}.fp16.bin`]);
  for (const name of pickles) {
    if (!(await exists(name))) continue;
    return checkpointError(
      source,
      at,
      `weights must be .safetensors, got ${name}, which is a Python pickle; convert it once in Python: ` +
        `load this component with from_pretrained("${at}") and call save_pretrained("${at}", safe_serialization=True)`,
    );
  }
  const other = await foreignWeights(source, folder);
  if (other) return checkpointError(source, at, `weights must be .safetensors, got ${other.name}; ${other.remedy}`);
  return checkpointError(
    source,
    at,
    `weights must be in ${singleName(base, variant ?? null)} or behind ${indexNames(base, variant ?? null)[0]}, ` +
      "got neither; finish the download",
  );
}
