/** Parameters, inputs and gradients as blobs: safetensors, so that other programs can look at them. */
import { CogwheelError } from "../base/errors.ts";
import { openSafetensors, type TensorToWrite, writeSafetensors } from "../files/safetensors.ts";
import { memorySource } from "../sources/memory.ts";
import type { MicroGradients, MicroTask } from "../training/micro-workers.ts";

type Arrays = ReadonlyMap<string, Float32Array | Uint32Array>;

const KEY = "cogwheel_ranks";
/** Of a result, beside the gradients. */
const LOSS = "loss";

function written(arrays: Arrays, said: object = {}): Uint8Array<ArrayBuffer> {
  const tensors = new Map<string, TensorToWrite>();
  for (const [name, data] of arrays) tensors.set(name, { dtype: data instanceof Uint32Array ? "U32" : "F32", shape: [data.length], data });
  return writeSafetensors(tensors, { [KEY]: JSON.stringify(said) });
}

async function read<T>(bytes: Uint8Array<ArrayBuffer>): Promise<{ arrays: Map<string, Float32Array | Uint32Array>; said: T }> {
  const path = "blob";
  const file = await openSafetensors(memorySource({ [path]: bytes }), path);
  const arrays = new Map<string, Float32Array | Uint32Array>();
  for (const [name, { dtype }] of file.tensors) {
    const { buffer } = (await file.read(name)).bytes;
    arrays.set(name, dtype === "U32" ? new Uint32Array(buffer) : new Float32Array(buffer));
  }
  return { arrays, said: JSON.parse(file.metadata[KEY] ?? "{}") as T };
}

const floats = (arrays: Arrays): Map<string, Float32Array> =>
  new Map([...arrays].flatMap(([name, data]) => (data instanceof Float32Array ? [[name, data] as const] : [])));

export const parametersBytes = (parameters: ReadonlyMap<string, Float32Array>): Uint8Array<ArrayBuffer> => written(parameters);
export const parametersOf = async (bytes: Uint8Array<ArrayBuffer>): Promise<Map<string, Float32Array>> =>
  floats((await read(bytes)).arrays);

export const taskBytes = ({ shape, inputs }: MicroTask): Uint8Array<ArrayBuffer> => written(new Map(Object.entries(inputs)), { shape });
export async function taskOf(bytes: Uint8Array<ArrayBuffer>): Promise<MicroTask> {
  const { arrays, said } = await read<Pick<MicroTask, "shape">>(bytes);
  return { shape: said.shape, inputs: Object.fromEntries(arrays) };
}

export const resultBytes = ({ loss, gradients, flops }: MicroGradients): Uint8Array<ArrayBuffer> =>
  written(new Map([...[...gradients].map(([name, data]) => [`of ${name}`, data] as const), [LOSS, loss]]), { flops });
export async function resultOf(bytes: Uint8Array<ArrayBuffer>): Promise<MicroGradients> {
  const { arrays, said } = await read<Pick<MicroGradients, "flops">>(bytes);
  const all = floats(arrays);
  const loss = all.get(LOSS);
  if (!loss || !Number.isFinite(said.flops))
    throw new CogwheelError("ranks", "a worker's result must have losses and gradients, got others");
  all.delete(LOSS);
  return { loss, gradients: new Map([...all].map(([name, data]) => [name.replace(/^of /, ""), data])), flops: said.flops };
}
