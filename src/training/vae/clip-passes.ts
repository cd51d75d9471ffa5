/**
 * A clip through the whole VAE in its batches of frames: encoder, latents drawn from the posterior, decoder, losses, and back. Activations
 * are those of one batch of one half at a time, so that its length decides only what convolutions keep between batches.
 */
import { CogwheelError } from "../../base/errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { Graph } from "../../graph/graph.ts";
import { checkVideoShape, type VideoShape } from "../../models/vae/batches.ts";
import { channelsFirst, channelsLast } from "../../ops/channels.ts";
import { klLoss } from "../../ops/kl_loss.ts";
import { posteriorSample } from "../../ops/posterior_sample.ts";
import { posteriorSampleGradient } from "../../ops/posterior_sample_gradient.ts";
import { add } from "../../ops/add.ts";
import type { CompileOptions } from "../../plan/compile.ts";
import type { States } from "../../run/states.ts";
import type { WeightStore } from "../../run/weight-store.ts";
import { Programs } from "../programs.ts";
import { type ClipBackwardOptions, FrameBatches, halfStates, madeShapeOf, statesOf } from "./frame-batches.ts";
import type { HalfRecipe, Objective } from "./half-graphs.ts";

/** A VAE of which both halves are trained. */
export interface ClipRecipe extends Pick<HalfRecipe, "config" | "weights" | "dtype" | "trained" | "again"> {
  /** Losses over a batch of what the decoder makes. */
  readonly objective: Objective;
}

export interface ClipPassOptions extends Pick<ClipBackwardOptions, "inputs" | "outputs" | "begun" | "signal"> {
  /** Pixels [B, 3, F, H, W]. */
  readonly x: Float32Array;
  /** A standard normal draw of the latents' shape [B, Z, F', H', W']. */
  readonly noise: Float32Array;
  /** Share and slope of a value of the KL term, as klLoss takes them. */
  readonly kl: readonly [number, number];
}

const encoder = ({ objective: _, ...recipe }: ClipRecipe): HalfRecipe => ({ ...recipe, part: "encode", ofInput: false });
const decoder = (recipe: ClipRecipe): HalfRecipe => ({ ...recipe, part: "decode", ofInput: true });

/** The parameters of both halves and the sums of their gradients, in zeros. */
export const clipStates = (gpu: Gpu, recipe: ClipRecipe): States => halfStates(gpu, encoder(recipe), decoder(recipe));

export class ClipPasses implements Disposable {
  readonly encoder: FrameBatches;
  readonly decoder: FrameBatches;
  readonly #programs: Programs;
  readonly #states: States;
  /** Of the moments, [B, 2Z, F', H', W']. */
  readonly #moments: ReturnType<typeof madeShapeOf>;

  /** @param store of frozen weights @param states of {@link clipStates}, and what an update needs beside them */
  constructor(
    gpu: Gpu,
    store: WeightStore,
    states: States,
    private readonly recipe: ClipRecipe,
    shape: VideoShape,
    options: { readonly compile?: CompileOptions } = {},
  ) {
    const [first, second] = [encoder(recipe), decoder(recipe)];
    checkVideoShape(recipe.config, "encode", shape);
    this.#moments = madeShapeOf(first, shape);
    const [batch, , frames, height, width] = this.#moments;
    const latents = { batch, frames, height, width };
    this.#states = statesOf(
      gpu,
      [
        [first, shape],
        [second, latents],
      ],
      states,
    );
    this.#programs = new Programs(gpu, store, this.#states, options);
    this.encoder = new FrameBatches(gpu, first, shape, this.#programs, this.#states);
    this.decoder = new FrameBatches(gpu, second, latents, this.#programs, this.#states);
  }

  /**
   * Losses of a clip, and its gradients, added up in the states `gradient:NAME`. `outputs` tells the losses of each batch of the decoder.
   * @returns the KL term of each latent frame, [B, F']
   */
  async run({ x, noise, kl, inputs, outputs, begun = false, signal }: ClipPassOptions): Promise<{ kl: Float32Array }> {
    const [batch, twice, frames, height, width] = this.#moments;
    const values = (batch * twice * frames * height * width) / 2;
    if (noise.length !== values)
      throw new CogwheelError("training", `noise must have the latents' ${values} values, got ${noise.length}; draw it for this size`);
    const run = signal ? { signal } : {};
    const moments = await this.encoder.forward(x, signal);
    const sample = await this.#programs.get("sample", () => this.#sampleGraph());
    await sample.run({ ...run, inputs: { moments, noise } });
    await this.decoder.forward(await sample.read("z", signal), signal);
    const back = { begun, ...(inputs ? { inputs } : {}), ...(outputs ? { outputs } : {}), ...run };
    const { dx: dz } = await this.decoder.backward(back);
    const posterior = await this.#programs.get("posterior", () => this.#posteriorGraph());
    await posterior.run({ ...run, inputs: { moments, noise, dz: dz!, settings: Float32Array.from(kl) } });
    const [cotangent, told] = await Promise.all([posterior.read("dy", signal), posterior.read("kl", signal)]);
    await this.encoder.backward({ cotangent, begun, ...run });
    return { kl: told };
  }

  #latents(graph: Graph) {
    const { latent_channels: latents } = this.recipe.config;
    const [batch, twice, ...size] = this.#moments;
    const noise = channelsLast(graph.input("noise", [batch, twice / 2, ...size]));
    return { latents, size: [batch, twice / 2, ...size], moments: channelsLast(graph.input("moments", this.#moments)), noise };
  }

  /** Moments and noise → latents, as they come and go between halves. */
  #sampleGraph(): Graph {
    const graph = new Graph("vae.sample");
    const { latents, moments, noise } = this.#latents(graph);
    graph.output("z", channelsFirst(posteriorSample(moments, noise, { latents }), latents));
    return graph;
  }

  /** What the decoder sends back and the KL term → the gradient with respect to the moments. */
  #posteriorGraph(): Graph {
    const graph = new Graph("vae.posterior");
    const { latents, size, moments, noise } = this.#latents(graph);
    const dz = channelsLast(graph.input("dz", size));
    const { loss, gradient } = klLoss({ moments, settings: graph.input("settings", [2]) }, { latents });
    graph.output("kl", loss);
    graph.output("dy", channelsFirst(add(gradient, posteriorSampleGradient({ moments, noise, dz }, { latents })), 2 * latents));
    return graph;
  }

  [Symbol.dispose](): void {
    for (const one of [this.encoder, this.decoder, this.#programs, this.#states]) one[Symbol.dispose]();
  }
}
