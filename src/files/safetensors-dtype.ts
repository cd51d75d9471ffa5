/** Bytes an element of every dtype that a safetensors file may hold here. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  U16: 2,
  U32: 4,
  BOOL: 1,
} as const;

/** A dtype by the name that safetensors gives it. */
export type SafetensorsDType = keyof typeof DTYPE_BYTES;

/** Whether `name` is one of the dtypes above. */
export function isSafetensorsDType(name: unknown): name is SafetensorsDType {
  return typeof name === "string" && Object.hasOwn(DTYPE_BYTES, name);
}
