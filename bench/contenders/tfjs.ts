/** TensorFlow.js with its WebGPU backend. */
import { permute, draw, type BenchCase, type TensorSpec } from "../cases/case.ts";
import type { AdaLnSizes, AttentionSizes, ConvSizes, GroupNormSizes } from "../cases/figures.ts";
import { writeResult } from "../cases/result-file.ts";
import { serve, type Contender, type Prepared } from "./protocol.ts";
import { peerImport, peerVersion } from "./installed.ts";
import { RunClock } from "../measure/clock.ts";
import { offerNavigator, timeRuns } from "./navigator.ts";

interface Tensor {
  data(): Promise<Float32Array>;
  dispose(): void;
}
interface Backend {
  readonly device: GPUDevice;
  readonly commandEncoder: unknown;
  endComputePassEncoder(): void;
  submitQueue(): void;
}
type Unary = (x: Tensor) => Tensor;
type Binary = (a: Tensor, b: Tensor | number) => Tensor;
interface Tf {
  tensor(data: Float32Array, shape: readonly number[]): Tensor;
  tidy(f: () => Tensor): Tensor;
  add: Binary;
  sub: Binary;
  mul: Binary;
  square: Unary;
  rsqrt: Unary;
  softmax: Unary;
  sigmoid: Unary;
  mean(x: Tensor, axes: number | readonly number[], keep: boolean): Tensor;
  reshape(x: Tensor, shape: readonly number[]): Tensor;
  slice(x: Tensor, begin: readonly number[], size: readonly number[]): Tensor;
  matMul(a: Tensor, b: Tensor, transposeA?: boolean, transposeB?: boolean): Tensor;
  concat(list: readonly Tensor[], axis: number): Tensor;
  conv3d(x: Tensor, w: Tensor, strides: number, pad: "valid"): Tensor;
  engine(): { runKernel(name: string, inputs: Readonly<Record<string, Tensor>>, attrs: object): Tensor };
  fused: { conv2d(options: object): Tensor };
  setBackend(name: string): Promise<boolean>;
  backend(): Backend;
}
/** The work of a run, and its result as it is read back. */
interface Recipe {
  readonly run: () => Tensor;
  readonly read?: (y: Float32Array) => Float32Array;
}

class TensorFlow implements Contender {
  #tf!: Tf;
  #backend!: Backend;
  #run: (() => Tensor) | undefined;
  #clock = new RunClock();

  async open() {
    const adapter = await offerNavigator();
    this.#tf = (await peerImport("@tensorflow/tfjs-core")) as Tf;
    await peerImport("@tensorflow/tfjs-backend-webgpu"); // registers itself, and opens the device as in a browser
    await this.#tf.setBackend("webgpu");
    this.#backend = this.#tf.backend();
    return { name: "TensorFlow.js", version: peerVersion("@tensorflow/tfjs-backend-webgpu"), adapter, kinds: Object.keys(this.#recipes) };
  }

  readonly #tensor = (spec: TensorSpec, axes?: readonly number[]): Tensor => {
    const data = draw(spec);
    return axes
      ? this.#tf.tensor(
          permute(data, spec.shape, axes),
          axes.map((a) => spec.shape[a]!),
        )
      : this.#tf.tensor(data, spec.shape);
  };

  /** Channels last, with rows and columns of zeros around: its pad() of five axes gives zeros alone, so they are there from the start. */
  #padded(spec: TensorSpec, s: ConvSizes): Tensor {
    const shape = [1, s.frames, s.height + 2, s.width + 2, s.cin];
    const data = new Float32Array(shape.reduce((n, m) => n * m, 1));
    const plain = permute(draw(spec), spec.shape, [0, 2, 3, 4, 1]);
    const row = s.width * s.cin;
    for (let i = 0; i < s.frames * s.height; i++) {
      const [t, h] = [Math.floor(i / s.height), i % s.height];
      data.set(plain.subarray(i * row, (i + 1) * row), ((t * (s.height + 2) + h + 1) * (s.width + 2) + 1) * s.cin);
    }
    return this.#tf.tensor(data, shape);
  }

  #normed(x: Tensor, axes: number | readonly number[], eps: number, weight: Tensor, bias: Tensor): Tensor {
    const { add, mean, mul, rsqrt, square, sub } = this.#tf;
    const centred = sub(x, mean(x, axes, true));
    return add(mul(mul(centred, rsqrt(add(mean(square(centred), axes, true), eps))), weight), bias);
  }

  readonly #recipes: Readonly<Record<string, (c: BenchCase<any, any>) => Recipe>> = {
    matmul: ({ inputs, weights }) => {
      const [x, w] = [this.#tensor(inputs["x"]!), this.#tensor(weights["w"]!, [1, 0])];
      return { run: () => this.#tf.matMul(x, w) };
    },
    matmul_nn: ({ inputs, weights }) => {
      const [x, w] = [this.#tensor(inputs["x"]!), this.#tensor(weights["w"]!)];
      return { run: () => this.#tf.matMul(x, w) };
    },
    matmul_tn: ({ inputs }) => {
      const [a, b] = [this.#tensor(inputs["a"]!), this.#tensor(inputs["b"]!)];
      return { run: () => this.#tf.matMul(a, b, true) };
    },
    // Its own kernels for both, called as its gradients call them, without the forward product that `tf.grad` runs before.
    conv3d_gradient_x: ({ inputs, weights, sizes: s }: BenchCase<"conv3d_gradient_x", ConvSizes>) => {
      const { add, concat, reshape, slice } = this.#tf;
      const [filter, dy] = [this.#tensor(weights["w"]!, [2, 3, 4, 1, 0]), this.#tensor(inputs["dy"]!, [0, 2, 3, 4, 1])];
      const read = (y: Float32Array) => permute(y, [1, s.frames, s.height, s.width, s.cin], [0, 4, 1, 2, 3]);
      if (s.taps === 1) {
        const [flat, w] = [reshape(dy, [s.frames, s.height, s.width, s.cout]), reshape(filter, [3, 3, s.cin, s.cout])];
        const attrs = { strides: 1, pad: "same", dataFormat: "NHWC", inputShape: [s.frames, s.height, s.width, s.cin] };
        return { run: () => this.#tf.engine().runKernel("Conv2DBackpropInput", { dy: flat, filter: w }, attrs), read };
      }
      const padded = [1, s.frames + 2, s.height + 2, s.width + 2, s.cin];
      const attrs = { strides: [1, 1, 1], pad: "valid", inputShape: padded };
      return {
        run: () => {
          const dx = this.#tf.engine().runKernel("Conv3DBackpropInputV2", { dy, filter }, attrs);
          const frames = (from: number, count: number) => slice(dx, [0, from, 1, 1, 0], [1, count, s.height, s.width, s.cin]);
          const first = add(add(frames(0, 1), frames(1, 1)), frames(2, 1));
          return s.frames === 1 ? first : concat([first, frames(3, s.frames - 1)], 1);
        },
        read,
      };
    },
    conv3d_gradient_w: ({ inputs, sizes: s }: BenchCase<"conv3d_gradient_w", ConvSizes>) => {
      const { concat, reshape, slice } = this.#tf;
      const dy = this.#tensor(inputs["dy"]!, [0, 2, 3, 4, 1]);
      const read = (y: Float32Array) => permute(y, [s.taps, 3, 3, s.cin, s.cout], [4, 3, 0, 1, 2]);
      if (s.taps === 1) {
        const x = reshape(this.#tensor(inputs["x"]!, [0, 2, 3, 4, 1]), [s.frames, s.height, s.width, s.cin]);
        const attrs = { strides: 1, pad: "same", dataFormat: "NHWC", filterShape: [3, 3, s.cin, s.cout] };
        const flat = reshape(dy, [s.frames, s.height, s.width, s.cout]);
        return { run: () => this.#tf.engine().runKernel("Conv2DBackpropFilter", { x, dy: flat }, attrs), read };
      }
      const x = this.#padded(inputs["x"]!, s);
      const attrs = { strides: [1, 1, 1], pad: "valid", filterShape: [3, 3, 3, s.cin, s.cout] };
      return {
        run: () => {
          const first = slice(x, [0, 0, 0, 0, 0], [1, 1, s.height + 2, s.width + 2, s.cin]);
          return this.#tf.engine().runKernel("Conv3DBackpropFilterV2", { x: concat([first, first, x], 1), dy }, attrs);
        },
        read,
      };
    },
    attention: ({ inputs, sizes }: BenchCase<"attention", AttentionSizes>) => {
      const [q, k, v] = ["q", "k", "v"].map((n) => this.#tensor(inputs[n]!)) as [Tensor, Tensor, Tensor];
      return {
        run: () => this.#tf.matMul(this.#tf.softmax(this.#tf.mul(this.#tf.matMul(q, k, false, true), sizes.width ** -0.5)), v),
        read: (y) => permute(y, [sizes.heads, sizes.length, sizes.width], [1, 0, 2]),
      };
    },
    conv3d: ({ inputs, weights, sizes: s }: BenchCase<"conv3d", ConvSizes>) => {
      const [w, b] = [this.#tensor(weights["w"]!, [2, 3, 4, 1, 0]), this.#tensor(weights["b"]!)];
      const read = (y: Float32Array) => permute(y, [1, s.frames, s.height, s.width, s.cout], [0, 4, 1, 2, 3]);
      const { add, concat, conv3d, fused, reshape, slice } = this.#tf;
      if (s.taps === 1) {
        const [x, filter] = [
          reshape(this.#tensor(inputs["x"]!, [0, 2, 3, 4, 1]), [s.frames, s.height, s.width, s.cin]),
          reshape(w, [3, 3, s.cin, s.cout]),
        ];
        return { run: () => fused.conv2d({ x, filter, strides: 1, pad: "same", bias: b }), read };
      }
      const x = this.#padded(inputs["x"]!, s);
      return {
        run: () => {
          const first = slice(x, [0, 0, 0, 0, 0], [1, 1, s.height + 2, s.width + 2, s.cin]);
          return add(conv3d(concat([first, first, x], 1), w, 1, "valid"), b);
        },
        read,
      };
    },
    adaln: ({ inputs, weights }: BenchCase<"adaln", AdaLnSizes>) => {
      const [x, shift, scale] = ["x", "shift", "scale"].map((n) => this.#tensor(inputs[n]!)) as [Tensor, Tensor, Tensor];
      const [weight, bias, gain] = [this.#tensor(weights["weight"]!), this.#tensor(weights["bias"]!), this.#tf.add(scale, 1)];
      return { run: () => this.#tf.add(this.#tf.mul(this.#normed(x, -1, 1e-5, weight, bias), gain), shift) };
    },
    group_norm: ({ inputs, weights, sizes: s }: BenchCase<"group_norm", GroupNormSizes>) => {
      const positions = s.frames * s.height * s.width;
      const shape = [positions, s.groups, s.channels / s.groups];
      const x = this.#tf.reshape(this.#tensor(inputs["x"]!, [0, 2, 3, 4, 1]), shape);
      const [weight, bias] = ["weight", "bias"].map((n) => this.#tf.reshape(this.#tensor(weights[n]!), shape.slice(1))) as [Tensor, Tensor];
      return {
        run: () => {
          const y = this.#normed(x, [0, 2], 1e-6, weight, bias);
          return this.#tf.mul(y, this.#tf.sigmoid(y));
        },
        read: (y) => permute(y, [positions, s.channels], [1, 0]),
      };
    },
  };

  async prepare(c: BenchCase, file: string): Promise<Prepared> {
    const { run, read } = this.#recipes[c.kind]!(c);
    this.#run = run;
    this.#clock = new RunClock();
    const y = this.#tf.tidy(run);
    const data = await y.data();
    y.dispose();
    writeResult(file, read ? read(data) : data);
    return {};
  }

  async time(runs: number) {
    const submit = (): void => {
      this.#tf.tidy(this.#run!).dispose();
      // What is recorded and not yet submitted; a batch may just have been full.
      if (!this.#backend.commandEncoder) return;
      this.#backend.endComputePassEncoder();
      this.#backend.submitQueue();
    };
    return { ms: await timeRuns(runs, () => this.#backend.device, submit, this.#clock) };
  }

  async close() {
    this.#run = undefined;
  }
}

await serve(new TensorFlow());
