/**
 * The losses of a VAE's training, recorded over what encoder and decoder gave, and where gradients begin.
 *
 * The generator's step: L1, MSE, LPIPS and KL, and from some step on what a discriminator says of the clip. How much that counts is found
 * on the device, so that its gradient at the decoder's last convolution is as long as the reconstruction's there (Esser, Rombach & Ommer
 * 2021, arXiv:2012.09841). The discriminator's step is a graph of its own, on the same clip and what was made of it.
 *
 *   B clips, F frames of a part, H × W pixels; everything is channels last, [B, F, H, W, 4]
 */
import { elements } from "../../base/shape.ts";
import { type Cotangent, differentiate } from "../../gradient/differentiate.ts";
import { watch } from "../../gradient/watch.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/tensor.ts";
import type { DiscriminatorConfig } from "../../models/discriminator/config.ts";
import { recordDiscriminator, type RecordedLevel } from "../../models/discriminator/forward.ts";
import { recordDiscriminatorTangent } from "../../models/discriminator/tangent.ts";
import { recordLpips } from "../../models/lpips/forward.ts";
import type { LpipsNetwork } from "../../models/lpips/layers.ts";
import { adaptiveWeight } from "../../ops/adaptive_weight.ts";
import { add } from "../../ops/add.ts";
import { addScaled } from "../../ops/add_scaled.ts";
import { adversarialLoss } from "../../ops/adversarial_loss.ts";
import { gatedAdd } from "../../ops/gated_add.ts";
import { gatherRows, NO_ROW } from "../../ops/gather_rows.ts";
import { gradientPenalty } from "../../ops/gradient_penalty.ts";
import { groupNormGradientSums } from "../../ops/group_norm_gradient_sums.ts";
import { joinFrames } from "../../ops/join_frames.ts";
import { klLoss } from "../../ops/kl_loss.ts";
import { pixelLoss } from "../../ops/pixel_loss.ts";
import { runningStatistics } from "../../ops/running_statistics.ts";
import { squareSum } from "../../ops/square_sum.ts";

/** A batch of a clip's frames, as it went through the VAE. */
export interface LossPart {
  /** What the decoder made, f32 [B, F, H, W, 4]. */
  readonly made: Tensor;
  /** What went in, of the same shape and type. */
  readonly target: Tensor;
  /** What the encoder gave, [B, F', H', W', 2Z padded]; left out where the encoder is not trained. */
  readonly moments?: Tensor;
}

/** Networks that judge what is made. Their weights stand in the graph under these prefixes. */
export const LPIPS_PREFIX = "lpips.";
export const DISCRIMINATOR_PREFIX = "discriminator.";

export interface GeneratorLossOptions {
  /** Z */
  readonly latents: number;
  readonly lpips?: LpipsNetwork;
  readonly discriminator?: DiscriminatorConfig;
  /** The decoder's last weight, as it is watched: the adversarial loss counts by gradients there. Without it, it counts by its weight alone. */
  readonly last?: Tensor;
  /** Storage type of what the discriminator's convolutions read; LPIPS is f32. Default f32. */
  readonly dtype?: "f32" | "f16";
  /** Is LPIPS of one frame of each clip alone, which inputs name? Default: of all frames. */
  readonly oneFrame?: boolean;
}

/**
 * Records the losses of the generator's step, of `i` a part's number.
 *
 *   inputs   `pixels` [3], `kl` [2] as their ops take them, `lpips.i` [B · F], `generator` [1], `adaptive` [4] or, without `last`, `disc`
 *            [4], the weight and zeros; with `oneFrame` `lpips.0` [B] alone, and of all parts' frames `frame.0` u32 [B], which of B · T
 *            is compared, and `inverse.0` u32 [B · T] (`gatherRows`); `generatorInputs` fills them
 *   outputs  `pixels.i`, `kl.i`, `lpips.i`, `generator` [1], `adaptive` [4]; `generatorReport` reads them. With a discriminator also `made`
 *            [B, T, H, W, 4] f32, the clip that was made, for the discriminator's step
 *
 * @returns where gradients begin: at what was made, and at moments
 */
export function recordGeneratorLosses(graph: Graph, parts: readonly LossPart[], o: GeneratorLossOptions): Cotangent[] {
  const { discriminator } = o;
  // Recorded while what was made is watched: gradients go through these networks to it.
  const compared = o.oneFrame ? [oneFrameOf(graph, parts)] : parts;
  const distances = o.lpips && compared.map(({ made, target }) => recordLpips(o.lpips!, made, target, { prefix: LPIPS_PREFIX }));
  const clip = discriminator && joinFrames(parts.map(({ made }) => made));
  const generator = clip && adversarialLoss(scoresOf(graph, discriminator, [clip], o.dtype)[0]!, "generator");
  return graph.unwatched(() => {
    const [pixels, kl] = [graph.input("pixels", [3]), parts.some(({ moments }) => moments) ? graph.input("kl", [2]) : undefined];
    const ofPixels = parts.map(({ made, target }, i) => {
      const { loss, gradient } = pixelLoss({ prediction: made, target, settings: pixels });
      graph.output(`pixels.${i}`, loss);
      return gradient;
    });
    const ofMade = distances ? withPerceptual(graph, parts, ofPixels, distances) : ofPixels;
    const ofMoments = parts.flatMap(({ moments }, i): Cotangent[] => {
      if (!moments) return [];
      const { loss, gradient } = klLoss({ moments, settings: kl! }, { latents: o.latents });
      graph.output(`kl.${i}`, loss);
      return [{ of: moments, gradient }];
    });
    const made = parts.map((part) => part.made);
    const all = generator ? withAdversary(graph, made, ofMade, generator, o.last) : ofMade;
    if (clip) graph.output("made", clip);
    return [...made.map((of, i) => ({ of, gradient: all[i]! })), ...ofMoments];
  });
}

/** Of all parts together one frame of each clip, made and wanted. */
function oneFrameOf(graph: Graph, parts: readonly LossPart[]): Pick<LossPart, "made" | "target"> {
  const [clips, , ...plane] = parts[0]!.made.shape as [number, number, number, number, number];
  const frames = clips * parts.reduce((sum, { made }) => sum + made.dim(1), 0);
  const index = graph.input("frame.0", [clips], "u32");
  const inverse = graph.input("inverse.0", [frames], "u32");
  const picked = (of: readonly Tensor[]): Tensor => {
    const rows = graph.reshape(joinFrames(of), [frames, elements(plane)]);
    return graph.reshape(gatherRows(rows, index, inverse), [clips, 1, ...plane]);
  };
  return { made: picked(parts.map(({ made }) => made)), target: picked(parts.map(({ target }) => target)) };
}

/** The pixels' gradients, and to them those of LPIPS, which has a distance for each part or one for all. */
function withPerceptual(graph: Graph, parts: readonly LossPart[], pixels: readonly Tensor[], distances: readonly Tensor[]): Tensor[] {
  const cotangents = distances.map((of, i) => {
    graph.output(`lpips.${i}`, of);
    return { of, gradient: graph.input(`lpips.${i}`, of.shape) };
  });
  const found = differentiate(
    cotangents,
    parts.map(({ made }) => made),
  );
  return pixels.map((gradient, i) => (found[i] ? add(gradient, found[i]) : gradient));
}

/** The reconstruction's gradients, and to them the adversarial ones: by the weight that both lengths give, or by that of the loss alone. */
function withAdversary(
  graph: Graph,
  made: readonly Tensor[],
  rec: readonly Tensor[],
  generator: Tensor,
  last: Tensor | undefined,
): Tensor[] {
  graph.output("generator", generator);
  const gen = differentiate([{ of: generator, gradient: graph.input("generator", [1]) }], made);
  const norm = (gradients: readonly (Tensor | undefined)[]): Tensor => {
    const [atLast] = differentiate(
      made.map((of, i) => ({ of, gradient: gradients[i]! })),
      [last!],
    );
    return squareSum(atLast!);
  };
  const factor = last ? adaptiveWeight(norm(rec), norm(gen), graph.input("adaptive", [4])) : graph.input("disc", [4]);
  if (last) graph.output("adaptive", factor);
  return rec.map((gradient, i) => addScaled(gradient, gen[i]!, factor));
}

/**
 * Scores of clips. Running statistics of batch norms are states, which one clip after another moves; they are written after the last.
 * @param onLevel is given each clip's levels, by the clip's index
 */
export function scoresOf(
  graph: Graph,
  config: DiscriminatorConfig,
  clips: readonly Tensor[],
  dtype: "f32" | "f16" | undefined,
  onLevel: (clip: number, level: RecordedLevel) => void = () => {},
): Tensor[] {
  const running = new Map<string, Tensor>();
  const move = (norm: string, stats: Tensor, channels: number): void => {
    const now = (name: string) => running.get(name) ?? graph.state(name, [channels]);
    graph.unwatched(() => {
      const { mean, variance } = runningStatistics(stats, now(`${norm}.running_mean`), now(`${norm}.running_var`));
      running.set(`${norm}.running_mean`, mean);
      running.set(`${norm}.running_var`, variance);
    });
  };
  const scores = clips.map((clip, i) =>
    recordDiscriminator(config, clip, {
      prefix: DISCRIMINATOR_PREFIX,
      ...(dtype ? { dtype } : {}),
      onStatistics: move,
      onLevel: (level) => onLevel(i, level),
    }),
  );
  for (const [name, value] of running) graph.update(graph.state(name, value.shape), value);
  return scores;
}

/**
 * Records the losses of the discriminator's step: ½ (mean relu(1 − D(real)) + mean relu(1 + D(made))), and with `penalised` what the
 * gradient of D(real) costs. Inputs: `discriminator` [1], half the scale of the loss, and `penalty` [4] (`penaltySettings`). Outputs:
 * `loss.real` and `loss.made` [1], without the half, and `loss.penalty` [B].
 * @param real, made f32 or f16 [B, T, H, W, 4] @returns where gradients begin: at the losses
 */
export function recordDiscriminatorLosses(
  graph: Graph,
  config: DiscriminatorConfig,
  { real, made }: { readonly real: Tensor; readonly made: Tensor },
  { dtype, penalised = false }: { readonly dtype?: "f32" | "f16"; readonly penalised?: boolean } = {},
): Cotangent[] {
  const levels: RecordedLevel[] = [];
  const judged = penalised ? watch(real) : real;
  const [ofReal, ofMade] = scoresOf(graph, config, [judged, made], dtype, (clip, level) => {
    if (clip === 0) levels.push(level);
  }) as [Tensor, Tensor];
  const losses = { real: adversarialLoss(ofReal, "real"), made: adversarialLoss(ofMade, "made") };
  const gradient = graph.input("discriminator", [1]);
  const cotangents = Object.entries(losses).map(([name, loss]): Cotangent => {
    graph.output(`loss.${name}`, loss);
    return { of: loss, gradient };
  });
  return penalised ? [...cotangents, penaltyOf(graph, config, judged, ofReal, levels)] : cotangents;
}

/**
 * Where the gradient of a penalty on g = ∂ ΣD(x)/∂x begins. That of Σ p(‖g‖) is ∂⟨v, g⟩ with v = ∂p/∂g held, and ⟨v, g⟩ is by how much
 * ΣD(x) moves along v: so v goes through beside x, and gradients are taken of where it comes out.
 */
function penaltyOf(graph: Graph, config: DiscriminatorConfig, x: Tensor, scores: Tensor, levels: readonly RecordedLevel[]): Cotangent {
  // The first of four is the score.
  const ones = graph.constant(
    "the scores",
    Float32Array.from({ length: scores.size }, (_, i) => +(i % 4 === 0)),
    scores.shape,
  );
  const v = graph.unwatched(() => {
    const [g] = differentiate([{ of: scores, gradient: ones }], [x]) as [Tensor];
    const [b, , , , c] = g.shape as [number, number, number, number, number];
    const [weight, bias] = [1, 0].map((value) => graph.constant(`${value}`, new Float32Array(c).fill(value))) as [Tensor, Tensor];
    const norm = graph.constant(
      "mean 0, rstd 1",
      Float32Array.from({ length: 2 * b * c }, (_, i) => Math.floor(i / c) % 2),
      [b, 2, c],
    );
    const operands = { x: g, dy: g, norm, weight, bias, scale: undefined, shift: undefined };
    const { sums } = groupNormGradientSums(operands, { onePlus: false, keepFirst: true, activation: null });
    const { loss, factors } = gradientPenalty(sums, graph.input("penalty", [4]));
    graph.output("loss.penalty", loss);
    const positions = g.size / c;
    const rows = graph.constant(
      "clips",
      Uint32Array.from({ length: positions }, (_, i) => Math.floor((i * b) / positions)),
    );
    return gatedAdd(g, { table: factors, rows });
  });
  return { of: recordDiscriminatorTangent(config, levels, v, { prefix: DISCRIMINATOR_PREFIX }), gradient: ones };
}

/** What a discriminator's gradient costs. */
export interface GradientPenalty {
  /**
   * `r1`: weight / 2 · the mean over clips of ‖∂ ΣD(x)/∂x‖² (Mescheder, Geiger & Nowozin 2018, arXiv:1801.04406). `unit`: weight · the
   * mean of (‖∂ ΣD(x)/∂x‖ − 1)² (Gulrajani et al. 2017, arXiv:1704.00028), of clips as they are, not between those and what was made.
   */
  readonly kind: "r1" | "unit";
  readonly weight: number;
  /** It counts in each so many'th step of the discriminator's, and so many times as much there. Default 1. */
  readonly every?: number;
}

/** Its length that costs nothing, and what a clip counts by. */
const penaltyTerms = ({ kind, weight, every = 1 }: GradientPenalty) =>
  kind === "r1" ? { target: 0, weight: (every * weight) / 2 } : { target: 1, weight: every * weight };

/** The input `penalty` of a discriminator's step. @param scale of the loss @param clips of the micro-step */
export function penaltySettings(penalty: GradientPenalty, scale: number, clips: number): Float32Array {
  const { target, weight } = penaltyTerms(penalty);
  return Float32Array.of((2 * weight * scale) / clips, target, weight / clips, 0);
}

/** What losses count. */
export interface VaeWeights {
  /** The mean absolute difference. */
  readonly l1: number;
  /** The mean squared difference. */
  readonly mse: number;
  /** The mean of LPIPS over frames. */
  readonly perceptual: number;
  /** The mean of ½ (μ² + σ² − 1 − log σ²). */
  readonly kl: number;
  /** −mean D(made), besides the weight that lengths of gradients give. */
  readonly disc: number;
}

/** Bounds of that weight: the most, and what is added to the divisor. */
export interface AdaptiveBounds {
  readonly clamp: number;
  readonly eps: number;
}
export const ADAPTIVE_BOUNDS: AdaptiveBounds = { clamp: 1e4, eps: 1e-4 };

export interface LossSizes {
  /** Pixels' values, B · 3 · T · H · W, and the latents', B · Z · T' · H' · W'. */
  readonly pixels: number;
  readonly latents: number;
  /** Pictures of each part: B · F. */
  readonly pictures: readonly number[];
}

export interface GeneratorScales {
  /** Of the loss, such as one over the micro-steps of a step. Default 1. */
  readonly scale?: number;
  readonly adaptive?: AdaptiveBounds;
  /** The log-variance by which the reconstruction counts. Default: it counts as it is. */
  readonly logVariance?: number | undefined;
  /** Of LPIPS that is of one frame of each clip: which, from 0. Default: it is of all. */
  readonly frames?: readonly number[] | undefined;
  /** Has each part a graph of its own, so that such a frame is sought in each? Default false: all parts are together. */
  readonly byParts?: boolean;
}

/** The values of the losses' inputs. */
export function generatorInputs(
  graph: Pick<Graph, "inputs">,
  sizes: LossSizes,
  weights: VaeWeights,
  { scale = 1, adaptive = ADAPTIVE_BOUNDS, logVariance = 0, frames, byParts = false }: GeneratorScales = {},
): Record<string, Float32Array | Uint32Array> {
  const pictures = sizes.pictures.reduce((sum, n) => sum + n, 0);
  const share = (values: number, weight: number) => Float32Array.of(1 / values, (weight * scale) / values);
  const rec = scale * Math.exp(-logVariance);
  const all: Record<string, Float32Array | Uint32Array> = {
    pixels: Float32Array.of(1 / sizes.pixels, (weights.l1 * rec) / sizes.pixels, (weights.mse * rec) / sizes.pixels),
    kl: share(sizes.latents, weights.kl),
    generator: Float32Array.of(scale),
    disc: Float32Array.of(weights.disc, 0, 0, 0),
    adaptive: Float32Array.of(1 / scale, weights.disc, adaptive.clamp, adaptive.eps),
  };
  const compared = frames ? (byParts ? sizes.pictures : [pictures]).map(() => frames.length) : sizes.pictures;
  for (const [i, n] of compared.entries())
    all[`lpips.${i}`] = new Float32Array(n).fill((weights.perceptual * rec) / (frames?.length ?? pictures));
  if (frames) Object.assign(all, namedFrames(frames, byParts ? sizes.pictures : [pictures]));
  return Object.fromEntries(Object.entries(all).filter(([name]) => graph.inputs.has(name)));
}

/** In each part which of its frames are compared, and of each of them whether and where. @param pictures B · F of each part */
function namedFrames(frames: readonly number[], pictures: readonly number[]): Record<string, Uint32Array> {
  const named: Record<string, Uint32Array> = {};
  let first = 0;
  for (const [i, count] of pictures.entries()) {
    const own = count / frames.length;
    const from = first;
    const index = Uint32Array.from(frames, (frame, clip) => (frame >= from && frame < from + own ? clip * own + frame - from : NO_ROW));
    const inverse = new Uint32Array(count).fill(NO_ROW);
    for (const [clip, row] of index.entries()) if (row !== NO_ROW) inverse[row] = clip;
    Object.assign(named, { [`frame.${i}`]: index, [`inverse.${i}`]: inverse });
    first += own;
  }
  return named;
}

/** The generator's losses by themselves, as they are added to the loss. */
export interface GeneratorReport {
  /** rec + kl + generator; with a log-variance s nll + kl + generator. */
  readonly loss: number;
  /** l1, mse and LPIPS by their weights. */
  readonly rec: number;
  /** rec / e^s + s, and s. */
  readonly nll?: number;
  readonly logvar?: number;
  readonly kl: number;
  readonly generator?: number;
  /** The weight that lengths of gradients gave. */
  readonly lambda?: number;
  /** Each without its weight. */
  readonly l1: number;
  readonly mse: number;
  readonly lpips?: number;
}

/** From the graph's outputs: `read` gives their values, undefined for one that there is not. */
export function generatorReport(
  read: (name: string) => ArrayLike<number> | undefined,
  { pictures }: Pick<LossSizes, "pictures">,
  weights: VaeWeights,
  { logVariance, frames }: Pick<GeneratorScales, "logVariance" | "frames"> = {},
): GeneratorReport {
  // A loss of several has a row each.
  const total = (name: string, row?: number): number | undefined => {
    const parts = pictures.map((_, i) => {
      const values = read(`${name}.${i}`);
      const half = values && values.length / 2;
      return row === undefined || !values ? values : Array.from(values).slice(row * half!, (row + 1) * half!);
    });
    return parts.every((part) => part === undefined)
      ? undefined
      : parts.reduce((sum, part) => sum + Array.from(part ?? []).reduce((a, b) => a + b, 0), 0);
  };
  const [l1, mse] = [0, 1].map((row) => total("pixels", row)!) as [number, number];
  const distances = total("lpips");
  const lpips = distances === undefined ? undefined : distances / (frames?.length ?? pictures.reduce((sum, n) => sum + n, 0));
  const rec = weights.l1 * l1 + weights.mse * mse + weights.perceptual * (lpips ?? 0);
  const nll = logVariance === undefined ? undefined : rec * Math.exp(-logVariance) + logVariance;
  const kl = weights.kl * (total("kl") ?? 0);
  const said = read("generator")?.[0];
  const lambda = read("adaptive")?.[1] ?? (said === undefined ? undefined : 1);
  const generator = said === undefined ? undefined : weights.disc * lambda! * said;
  return {
    loss: (nll ?? rec) + kl + (generator ?? 0),
    rec,
    ...(nll === undefined ? {} : { nll, logvar: logVariance! }),
    kl,
    ...(generator === undefined ? {} : { generator, lambda: lambda! }),
    l1,
    mse,
    ...(lpips === undefined ? {} : { lpips }),
  };
}
