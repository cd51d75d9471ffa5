/** What of jax-js is called; it is not among this project's dependencies. */

/** An operation takes its arguments over; `ref` keeps one for another use. */
export interface Array_ {
  readonly ref: Array_;
  add(o: Array_ | number): Array_;
  mul(o: Array_ | number): Array_;
  sum(): Array_;
  reshape(shape: readonly number[]): Array_;
  transpose(axes?: readonly number[]): Array_;
  slice(...index: readonly (readonly [] | readonly [number, number])[]): Array_;
  data(): Promise<Float32Array>;
  dispose(): void;
  gpuBufferSync(): unknown;
}
export type Func = (...inputs: Array_[]) => Array_;
export type Many = (...inputs: Array_[]) => Array_[];
export interface Jax {
  init(device: string): Promise<string[]>;
  defaultDevice(device: string): void;
  jit<F extends Func | Many>(f: F): F;
  grad(f: Func, options: { argnums: readonly number[] }): Many;
  getWebGPUDevice(): GPUDevice;
  numpy: {
    array(data: Float32Array, options: { shape: readonly number[] }): Array_;
    matmul(a: Array_, b: Array_): Array_;
    concatenate(list: readonly Array_[], axis: number): Array_;
    split(x: Array_, sections: number, axis: number): Array_[];
    broadcastTo(x: Array_, shape: readonly number[]): Array_;
  };
  nn: {
    softmax(x: Array_): Array_;
    standardize(x: Array_, axis: number | readonly number[], options: { epsilon: number }): Array_;
    silu(x: Array_): Array_;
    gelu(x: Array_): Array_;
  };
  lax: {
    convGeneralDilated(
      x: Array_,
      w: Array_,
      strides: readonly number[],
      padding: readonly (readonly [number, number])[],
      options?: object,
    ): Array_;
  };
}
