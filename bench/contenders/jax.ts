/** jax-js on WebGPU: every case as a function under `jit`. */
import { draw, permute, type BenchCase, type TensorSpec } from "../cases/case.ts";
import type { AdaLnSizes, AttentionSizes, ConvSizes, GroupNormSizes } from "../cases/figures.ts";
import type { BlockStepSizes } from "../cases/modules.ts";
import { writeResult } from "../cases/result-file.ts";
import { serve, type Contender, type Prepared } from "./protocol.ts";
import { peerImport, peerVersion } from "./installed.ts";
import { RunClock } from "../measure/clock.ts";
import { jaxBlock, stepArguments } from "./jax-block.ts";
import type { Array_, Func, Jax, Many } from "./jax-types.ts";
import { offerNavigator, timeRuns } from "./navigator.ts";

interface Recipe {
  readonly inputs: readonly Array_[];
  readonly f: Func | Many;
  /** How many of the results, one after another, are compared. Default 1. */
  readonly compared?: number;
  readonly read?: (y: Float32Array) => Float32Array;
}

class JaxJs implements Contender {
  #jax!: Jax;
  #open: { inputs: readonly Array_[]; f: (...inputs: Array_[]) => Array_ | Array_[] } | undefined;
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
    matmul_nn: ({ inputs, weights }) => ({
      inputs: [this.#array(inputs["x"]!), this.#array(weights["w"]!)],
      f: (x, w) => this.#jax.numpy.matmul(x!, w!),
    }),
    matmul_tn: ({ inputs }) => ({
      inputs: [this.#array(inputs["a"]!), this.#array(inputs["b"]!)],
      f: (a, b) => this.#jax.numpy.matmul(a!.transpose(), b!),
    }),
    // All three, as this engine computes them; its own derivative of what attention is above.
    attention_gradient: ({ inputs, sizes: s }: BenchCase<"attention_gradient", AttentionSizes>) => ({
      inputs: [...["k", "q", "v"].map((name) => this.#array(inputs[name]!)), this.#array(inputs["dy"]!)],
      f: (...given) =>
        this.#jax.grad(
          (k, q, v, dy) => {
            const { numpy, nn } = this.#jax;
            const y = numpy.matmul(nn.softmax(numpy.matmul(q!, k!.transpose([0, 2, 1])).mul(s.width ** -0.5)), v!);
            return y
              .transpose([1, 0, 2])
              .reshape([s.length, s.heads * s.width])
              .mul(dy!)
              .sum();
          },
          { argnums: [0, 1, 2] },
        )(...given),
    }),
    conv3d_gradient_x: ({ inputs, weights, sizes: s, output }: BenchCase<"conv3d_gradient_x", ConvSizes>) =>
      this.#linearGradient(output, weights["w"]!, inputs["dy"]!, (x, w) => this.#causal(s, x, w)),
    conv3d_gradient_w: ({ inputs, sizes: s, output }: BenchCase<"conv3d_gradient_w", ConvSizes>) =>
      this.#linearGradient(output, inputs["x"]!, inputs["dy"]!, (w, x) => this.#causal(s, x, w)),
    // Forward and gradients; without the clipping and the update that this engine's step has.
    block_step: (c: BenchCase<"block_step", BlockStepSizes>) => {
      const specs = { ...c.inputs, ...c.weights };
      const trained = stepArguments(c);
      const names = [...trained, ...Object.keys(specs).filter((name) => !trained.includes(name))];
      return {
        inputs: names.map((name) => this.#array(specs[name]!, name in c.weights && specs[name]!.shape.length === 2 ? [1, 0] : undefined)),
        f: (...given) =>
          this.#jax.grad(
            (...list) => {
              const { dy, ...w } = Object.fromEntries(names.map((name, i) => [name, list[i]!]));
              return jaxBlock(this.#jax, c.sizes, w).mul(dy!).sum();
            },
            { argnums: trained.map((_, i) => i) },
          )(...given),
        compared: 2,
      };
    },
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

  /** Of what is linear in what it is differentiated by, whose value does not matter: `jit` leaves out what only the product is for. */
  #linearGradient(shape: readonly number[], other: TensorSpec, dy: TensorSpec, product: (by: Array_, other: Array_) => Array_): Recipe {
    const zeros = this.#jax.numpy.array(new Float32Array(shape.reduce((n, m) => n * m, 1)), { shape });
    return {
      inputs: [zeros, this.#array(other), this.#array(dy)],
      f: (...given) => this.#jax.grad((by, x, d) => product(by!, x!).mul(d!).sum(), { argnums: [0] })(...given),
    };
  }

  /** Causal in time where it has taps there, x's first frame repeated before it. */
  #causal(s: ConvSizes, x: Array_, w: Array_): Array_ {
    const { lax, numpy } = this.#jax;
    const same = [1, 1] as const;
    if (s.taps === 3) {
      const first = x.ref.slice([], [], [0, 1]);
      return lax.convGeneralDilated(numpy.concatenate([first.ref, first, x], 2), w, [1, 1, 1], [[0, 0], same, same]);
    }
    const frames = x.reshape([s.cin, s.frames, s.height, s.width]).transpose([1, 0, 2, 3]);
    const y = lax.convGeneralDilated(frames, w.reshape([s.cout, s.cin, 3, 3]), [1, 1], [same, same]);
    return y.transpose([1, 0, 2, 3]).reshape([1, s.cout, s.frames, s.height, s.width]);
  }

  /** The first frame of [1, C, T, H, W], which a causal convolution repeats. */
  #first(spec: TensorSpec): Array_ {
    const [, c, t, h, w] = spec.shape as [number, number, number, number, number];
    const data = draw(spec);
    const first = new Float32Array(c * h * w);
    for (let i = 0; i < c; i++) first.set(data.subarray(i * t * h * w, i * t * h * w + h * w), i * h * w);
    return this.#jax.numpy.array(first, { shape: [1, c, 1, h, w] });
  }

  async prepare(c: BenchCase, file: string): Promise<Prepared> {
    const { inputs, f, read, compared = 1 } = this.#recipes[c.kind]!(c);
    this.#open = { inputs, f: this.#jax.jit(f as Func) };
    this.#clock = new RunClock();
    const results = this.#call();
    const parts: Float32Array[] = [];
    for (const [i, result] of results.entries())
      if (i < compared) parts.push(await result.data());
      else result.dispose();
    const data = new Float32Array(parts.reduce((n, { length }) => n + length, 0));
    parts.reduce((at, part) => (data.set(part, at), at + part.length), 0);
    writeResult(file, read ? read(data) : data);
    return {};
  }

  #call(): Array_[] {
    const { inputs, f } = this.#open!;
    const results = f(...inputs.map((x) => x.ref));
    return Array.isArray(results) ? results : [results];
  }

  async time(runs: number) {
    // To ask for the result's buffer is what submits the work; it also lets go of the result.
    return {
      ms: await timeRuns(
        runs,
        () => this.#jax.getWebGPUDevice(),
        () => this.#call().forEach((result) => void result.gpuBufferSync()),
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
