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
      // Its pad() of five axes gives zeros: the rows and columns around are there from the start.
      const padded = [1, s.frames, s.height + 2, s.width + 2, s.cin];
      const data = new Float32Array(padded.reduce((n, m) => n * m, 1));
      const plain = permute(draw(inputs["x"]!), inputs["x"]!.shape, [0, 2, 3, 4, 1]);
      const row = s.width * s.cin;
      for (let i = 0; i < s.frames * s.height; i++) {
        const [t, h] = [Math.floor(i / s.height), i % s.height];
        data.set(plain.subarray(i * row, (i + 1) * row), ((t * (s.height + 2) + h + 1) * (s.width + 2) + 1) * s.cin);
      }
      const x = this.#tf.tensor(data, padded);
      return {
        run: () => {
          const first = slice(x, [0, 0, 0, 0, 0], [1, 1, ...padded.slice(2)]);
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
