/** The weights of a network that is published as one file: PyTorch's own kind (.pth, .pt), or safetensors. */
import { CogwheelError } from "../base/errors.ts";
import { openSafetensors, type SafetensorsFile } from "../files/safetensors.ts";
import { isTorchFile, openTorch } from "../files/torch/open.ts";
import { type Format, FORMATS, type StoredWeight } from "../graph/stored.ts";
import { KIND_BYTES, kindRule } from "../sources/file-kind.ts";
import { checkpointError, type CheckpointSource } from "../sources/source.ts";

const KINDS = "tensors that torch saved (.pth, .pt), or safetensors";

export interface TensorFile extends Pick<SafetensorsFile, "path" | "tensors" | "read"> {
  readonly source: CheckpointSource;
}

/** By its first bytes: those of torch are told by them, and the header of safetensors is JSON. */
export async function openTensorFile(source: CheckpointSource, path: string): Promise<TensorFile> {
  const head = await source.read(path, 0, Math.min(KIND_BYTES, await source.size(path)));
  if (isTorchFile(head)) return { ...(await openTorch(source, path)), source };
  if (head[8] === 0x7b) return { ...(await openSafetensors(source, path)), source };
  throw checkpointError(source, path, kindRule(head, KINDS) ?? `must be ${KINDS}, got something else; download it again`);
}

/** A tensor of a file as a program loads it. Throws where there is none, or one of integers. */
export function storedTensor({ source, path, tensors }: TensorFile, tensor: string): StoredWeight {
  const info = tensors.get(tensor);
  if (!info) throw new CogwheelError("weights", `a weight must be one of ${path}, got ${tensor}; give the whole network`);
  const format = info.dtype.toLowerCase();
  if (!Object.hasOwn(FORMATS, format))
    throw checkpointError(source, path, `${tensor} must be F32, F16 or BF16, got ${info.dtype}; convert it`);
  return {
    label: `${tensor} of ${path}`,
    shape: info.shape,
    format: format as Format,
    async read(start, into, signal) {
      const from = info.start + start;
      const bytes = await source.read(path, from, from + into.length, into, signal);
      if (bytes.buffer !== into.buffer || bytes.byteOffset !== into.byteOffset) into.set(bytes);
    },
  };
}
