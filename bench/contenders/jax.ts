/** jax-js on WebGPU: every case as a function under `jit`. */
import { draw, permute, type BenchCase, type TensorSpec } from "../cases/case.ts";
import type { AdaLnSizes, AttentionSizes, ConvSizes, GroupNormSizes } from "../cases/figures.ts";
import { writeResult } from "../cases/result-file.ts";
import { serve, type Contender, type Prepared } from "./protocol.ts";
import { peerImport, peerVersion } from "./installed.ts";
import { RunClock } from "../measure/clock.ts";
import { offerNavigator, timeRuns } from "./navigator.ts";

/** An operation takes its arguments over; `ref` keeps one for another use. */
interface Array_ {
  readonly ref: Array_;
  add(o: Array_ | number): Array_;
  mul(o: Array_ | number): Array_;
  reshape(shape: readonly number[]): Array_;
  data(): Promise<Float32Array>;
  dispose(): void;
  gpuBufferSync(): unknown;
}
type Func = (...inputs: Array_[]) => Array_;
interface Jax {
  init(device: string): Promise<string[]>;
  defaultDevice(device: string): void;
  jit(f: Func): Func;
  getWebGPUDevice(): GPUDevice;
  numpy: {
    array(data: Float32Array, options: { shape: readonly number[] }): Array_;
    matmul(a: Array_, b: Array_): Array_;
    concatenate(list: Array_[], axis: number): Array_;
  };
  nn: {
    softmax(x: Array_): Array_;
    standardize(x: Array_, axis: number | readonly number[], options: { epsilon: number }): Array_;
    silu(x: Array_): Array_;
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
interface Recipe {
  readonly inputs: readonly Array_[];
  readonly f: Func;
  readonly read?: (y: Float32Array) => Float32Array;
}

class JaxJs implements Contender {
  #jax!: Jax;
  #open: { inputs: readonly Array_[]; f: Func } | undefined;
  #clock = new RunClock();

  async open() {
    const adapter = await offerNavigator();
    this.#jax = (await peerImport("@jax-js/jax")) as Jax;
    const devices = await this.#jax.init("webgpu");
    if (!devices.includes("webgpu")) throw new Error(`it finds no WebGPU device, only ${devices.join(", ") || "none"}`);
    this.#jax.defaultDevice("webgpu");
    return { name: "jax-js", version: peerVersion("@jax-js/jax"), adapter, kinds: Object.keys(this.#recipes) };
  }

  readonly #array = (spec: TensorSpec, axes?: readonly number[], shape?: readonly number[]): Array_ => {
    const data = draw(spec);
    return this.#jax.numpy.array(axes ? permute(data, spec.shape, axes) : data, {
      shape: shape ?? (axes ? axes.map((a) => spec.shape[a]!) : spec.shape),
    });
  };

  readonly #recipes: Readonly<Record<string, (c: BenchCase<any, any>) => Recipe>> = {
    matmul: ({ inputs, weights }) => ({
      inputs: [this.#array(inputs["x"]!), this.#array(weights["w"]!, [1, 0])],
      f: (x, w) => this.#jax.numpy.matmul(x!, w!),
    }),
    // Its own dotProductAttention is the same by einsum, which wants Node 22.
    attention: ({ inputs, sizes: s }: BenchCase<"attention", AttentionSizes>) => ({
      inputs: [this.#array(inputs["q"]!), this.#array(inputs["k"]!, [0, 2, 1]), this.#array(inputs["v"]!)],
      f: (q, k, v) => this.#jax.numpy.matmul(this.#jax.nn.softmax(this.#jax.numpy.matmul(q!, k!).mul(s.width ** -0.5)), v!),
      read: (y) => permute(y, [s.heads, s.length, s.width], [1, 0, 2]),
    }),
    conv3d: ({ inputs, weights, sizes: s }: BenchCase<"conv3d", ConvSizes>) => {
      const x = inputs["x"]!,
        w = weights["w"]!;
      const { lax, numpy } = this.#jax;
      if (s.taps === 1) {
        return {
          inputs: [
            this.#array(x, undefined, [s.frames, s.cin, s.height, s.width]),
            this.#array(w, undefined, [s.cout, s.cin, 3, 3]),
            this.#array(weights["b"]!, undefined, [1, s.cout, 1, 1]),
          ],
          f: (x_, w_, b) =>
            lax
              .convGeneralDilated(
                x_!,
                w_!,
                [1, 1],
                [
                  [1, 1],
                  [1, 1],
                ],
              )
              .add(b!),
        };
      }
      return {
        inputs: [this.#array(x), this.#array(w), this.#array(weights["b"]!, undefined, [1, s.cout, 1, 1, 1]), this.#first(x)],
        f: (x_, w_, b, first) =>
          lax
            .convGeneralDilated(
              numpy.concatenate([first!.ref, first!, x_!], 2),
              w_!,
              [1, 1, 1],
              [
                [0, 0],
                [1, 1],
                [1, 1],
              ],
            )
            .add(b!),
      };
    },
    adaln: ({ inputs, weights }: BenchCase<"adaln", AdaLnSizes>) => ({
      inputs: [
        this.#array(inputs["x"]!),
        this.#array(weights["weight"]!),
        this.#array(weights["bias"]!),
        this.#array(inputs["scale"]!),
        this.#array(inputs["shift"]!),
      ],
      f: (x, weight, bias, scale, shift) =>
        this.#jax.nn.standardize(x!, -1, { epsilon: 1e-5 }).mul(weight!).add(bias!).mul(scale!.add(1)).add(shift!),
    }),
    group_norm: ({ inputs, weights, sizes: s }: BenchCase<"group_norm", GroupNormSizes>) => {
      const each = s.channels / s.groups;
      const shape = [s.groups, each, s.frames * s.height * s.width];
      return {
        inputs: [
          this.#array(inputs["x"]!, undefined, shape),
          this.#array(weights["weight"]!, undefined, [s.groups, each, 1]),
          this.#array(weights["bias"]!, undefined, [s.groups, each, 1]),
        ],
        f: (x, weight, bias) => this.#jax.nn.silu(this.#jax.nn.standardize(x!, [1, 2], { epsilon: 1e-6 }).mul(weight!).add(bias!)),
      };
    },
  };

  /** The first frame of [1, C, T, H, W], which a causal convolution repeats. */
  #first(spec: TensorSpec): Array_ {
    const [, c, t, h, w] = spec.shape as [number, number, number, number, number];
    const data = draw(spec);
    const first = new Float32Array(c * h * w);
    for (let i = 0; i < c; i++) first.set(data.subarray(i * t * h * w, i * t * h * w + h * w), i * h * w);
    return this.#jax.numpy.array(first, { shape: [1, c, 1, h, w] });
  }

  async prepare(c: BenchCase, file: string): Promise<Prepared> {
    const { inputs, f, read } = this.#recipes[c.kind]!(c);
    this.#open = { inputs, f: this.#jax.jit(f) };
    this.#clock = new RunClock();
    const data = await this.#call().data();
    writeResult(file, read ? read(data) : data);
    return {};
  }

  #call(): Array_ {
    const { inputs, f } = this.#open!;
    return f(...inputs.map((x) => x.ref));
  }

  async time(runs: number) {
    // To ask for the result's buffer is what submits the work; it also lets go of the result.
    return {
      ms: await timeRuns(
        runs,
        () => this.#jax.getWebGPUDevice(),
        () => void this.#call().gpuBufferSync(),
        this.#clock,
      ),
    };
  }

  async close() {
    for (const x of this.#open?.inputs ?? []) x.dispose();
    this.#open = undefined;
  }
}

await serve(new JaxJs());
