/** Parameters, inputs and gradients as blobs: safetensors, so that other programs can look at them. */
import { isObject } from "../base/json-scan.ts";
import { CogwheelError } from "../base/errors.ts";
import { openSafetensors, type TensorToWrite, writeSafetensors } from "../files/safetensors.ts";
import { memorySource } from "../sources/memory.ts";
import type { MicroGradients, MicroTask } from "../training/micro-workers.ts";

type AnyArray = Float32Array | Uint32Array | Int8Array;
type Arrays = ReadonlyMap<string, AnyArray>;

const KEY = "cogwheel_ranks";
/** Of a result, beside the gradients. */
const LOSS = "loss";

function written(arrays: Arrays, said: object = {}): Uint8Array<ArrayBuffer> {
  const tensors = new Map<string, TensorToWrite>();
  for (const [name, data] of arrays) tensors.set(name, { dtype: dtypeOf(data), shape: [data.length], data });
  return writeSafetensors(tensors, { [KEY]: JSON.stringify(said) });
}

const dtypeOf = (data: AnyArray): "U32" | "I8" | "F32" => (data instanceof Uint32Array ? "U32" : data instanceof Int8Array ? "I8" : "F32");
const MAKES = { U32: Uint32Array, I8: Int8Array, F32: Float32Array };

async function read<T>(bytes: Uint8Array<ArrayBuffer>): Promise<{ arrays: Map<string, AnyArray>; said: T }> {
  const path = "blob";
  const file = await openSafetensors(memorySource({ [path]: bytes }), path);
  const arrays = new Map<string, AnyArray>();
  for (const [name, { dtype }] of file.tensors) {
    const { buffer } = (await file.read(name)).bytes;
    arrays.set(name, new MAKES[dtype as keyof typeof MAKES](buffer));
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
  return { shape: said.shape, inputs: Object.fromEntries(arrays) as MicroTask["inputs"] };
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

/**
 * Any value of objects, lists, maps with names for keys, numbers and arrays of numbers, as it is: its arrays beside each other, and the
 * rest as JSON in which they are named by their numbers. Numbers that JSON has no word for are kept too.
 */
export function valueBytes(value: unknown): Uint8Array<ArrayBuffer> {
  const arrays = new Map<string, AnyArray>();
  const plain = (one: unknown): unknown => {
    if (one instanceof Float32Array || one instanceof Uint32Array || one instanceof Int8Array) {
      arrays.set(String(arrays.size), one);
      return { $array: arrays.size - 1 };
    }
    if (typeof one === "number" && !Number.isFinite(one)) return { $number: String(one) };
    if (one instanceof Map) return { $map: [...one].map(([name, each]) => [name, plain(each)]) };
    if (Array.isArray(one)) return one.map(plain);
    return isObject(one) ? Object.fromEntries(Object.entries(one).map(([name, each]) => [name, plain(each)])) : one;
  };
  return written(arrays, { value: plain(value) });
}

/** What `valueBytes` was given. */
export async function valueIn<T>(bytes: Uint8Array<ArrayBuffer>): Promise<T> {
  const { arrays, said } = await read<{ value: unknown }>(bytes);
  const whole = (one: unknown): unknown => {
    if (Array.isArray(one)) return one.map(whole);
    if (!isObject(one)) return one;
    if ("$array" in one) return arrays.get(String(one["$array"]));
    if ("$number" in one) return Number(one["$number"]);
    if ("$map" in one) return new Map((one["$map"] as [string, unknown][]).map(([name, each]) => [name, whole(each)]));
    return Object.fromEntries(Object.entries(one).map(([name, each]) => [name, whole(each)]));
  };
  return whole(said.value) as T;
}
