/** The types of tensors and of metadata that GGUF files number (ggml.h, gguf.h of llama.cpp). */

/** A type that tensors are stored in: values and bytes of a block; none where this engine cannot read it. */
export interface GgmlType {
  readonly name: string;
  readonly values?: number;
  readonly bytes?: number;
}

/** By the number that files give it. */
export const GGML_TYPES: ReadonlyMap<number, GgmlType> = new Map(
  (
    [
      [0, "F32", 1, 4],
      [1, "F16", 1, 2],
      [2, "Q4_0", 32, 18],
      [3, "Q4_1"],
      [6, "Q5_0", 32, 22],
      [7, "Q5_1"],
      [8, "Q8_0", 32, 34],
      [9, "Q8_1"],
      [10, "Q2_K"],
      [11, "Q3_K"],
      [12, "Q4_K", 256, 144],
      [13, "Q5_K", 256, 176],
      [14, "Q6_K", 256, 210],
      [15, "Q8_K"],
      [16, "IQ2_XXS"],
      [17, "IQ2_XS"],
      [18, "IQ3_XXS"],
      [19, "IQ1_S"],
      [20, "IQ4_NL"],
      [21, "IQ3_S"],
      [22, "IQ2_S"],
      [23, "IQ4_XS"],
      [24, "I8"],
      [25, "I16"],
      [26, "I32"],
      [27, "I64"],
      [28, "F64"],
      [29, "IQ1_M"],
      [30, "BF16", 1, 2],
      [34, "TQ1_0"],
      [35, "TQ2_0"],
      [39, "MXFP4"],
      [40, "NVFP4"],
      [41, "Q1_0"],
    ] as const
  ).map(([id, name, values, bytes]) => [id, { name, ...(values === undefined ? {} : { values, bytes }) }]),
);

/** Types that are read, by name. */
export const READABLE_TYPES: ReadonlyMap<string, { readonly id: number; readonly values: number; readonly bytes: number }> = new Map(
  [...GGML_TYPES].flatMap(([id, { name, values, bytes }]) => (values && bytes ? [[name, { id, values, bytes }] as const] : [])),
);

/** Numbers of the types of metadata. */
export const STRING = 8;
export const ARRAY = 9;
export const BOOL = 7;
export const UINT32 = 4;
export const FLOAT32 = 6;

/** Types of metadata that are numbers: bytes, and how a value is read. */
export const NUMBERS: ReadonlyMap<number, { readonly bytes: number; readonly read: (view: DataView, at: number) => number }> = new Map([
  [0, { bytes: 1, read: (view, at) => view.getUint8(at) }],
  [1, { bytes: 1, read: (view, at) => view.getInt8(at) }],
  [2, { bytes: 2, read: (view, at) => view.getUint16(at, true) }],
  [3, { bytes: 2, read: (view, at) => view.getInt16(at, true) }],
  [UINT32, { bytes: 4, read: (view, at) => view.getUint32(at, true) }],
  [5, { bytes: 4, read: (view, at) => view.getInt32(at, true) }],
  [FLOAT32, { bytes: 4, read: (view, at) => view.getFloat32(at, true) }],
  [10, { bytes: 8, read: (view, at) => Number(view.getBigUint64(at, true)) }],
  [11, { bytes: 8, read: (view, at) => Number(view.getBigInt64(at, true)) }],
  [12, { bytes: 8, read: (view, at) => view.getFloat64(at, true) }],
]);

/** Where tensors begin, unless a file's `general.alignment` says otherwise. */
export const ALIGNMENT = 32;
