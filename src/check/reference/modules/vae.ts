/** The causal VAE and its parts. */
import { CogwheelError } from "../../../base/errors.ts";
import { parseVaeConfig } from "../../../models/vae/config.ts";
import { vaeWeights } from "../../../models/vae/batches.ts";
import type { Tiling } from "../../../models/vae/reference-tiling.ts";
import { CausalVae } from "../../../models/vae/model.ts";
import { channelsFirst, channelsLast } from "../../../ops/channels.ts";
import { conv3d } from "../../../ops/conv3d.ts";
import { groupNorm } from "../../../ops/group_norm.ts";
import type { Graph } from "../../../graph/graph.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import { expectCaseWeights, inputOf } from "../case.ts";
import { Layout } from "../layout.ts";
import type { ModuleContext, ReferenceModule } from "../module.ts";
import type { HostTensor, ReferenceCase } from "../reference-case.ts";
import { runOnce } from "../run-once.ts";
import { vaeGuide } from "../trace/vae.ts";
import { halfGradients } from "./vae-gradients.ts";

type Shape5 = readonly [number, number, number, number, number];

function triple(c: ReferenceCase, key: string, value: unknown): readonly [number, number, number] {
  const list = Array.isArray(value) ? value : [value, value, value];
  if (list.length !== 3 || !list.every((n) => Number.isInteger(n) && n > 0))
    throw new CogwheelError(
      "reference",
      `${c.name}: ${key} must be a positive integer or three, got ${JSON.stringify(value)}; correct the case's config`,
    );
  return list as unknown as readonly [number, number, number];
}

const half = (taps: number): number => Math.floor((taps - 1) / 2);

/** The arguments of the reference's CogVideoXCausalConv3d. */
interface ConvConfig {
  readonly in_channels: number;
  readonly out_channels: number;
  readonly kernel_size: number | readonly number[];
  readonly stride?: number | readonly number[];
  readonly dilation?: number;
  readonly pad_mode?: string;
}

const causalConv3d: ReferenceModule = async (c, context) => {
  const x = inputOf(c, "inputs", 5);
  const cache = c.inputs.has("conv_cache") ? inputOf(c, "conv_cache", 5) : undefined;
  const {
    in_channels: inChannels,
    out_channels: outChannels,
    kernel_size,
    stride = 1,
    dilation = 1,
    pad_mode: padMode = "constant",
  } = c.config as unknown as ConvConfig;
  const kernel = triple(c, "kernel_size", kernel_size);
  // A single stride is the stride in time alone; a replicating convolution pads in time by itself and keeps no cache.
  const strides = Array.isArray(stride) ? triple(c, "stride", stride) : triple(c, "stride", [stride, 1, 1]);
  const replicate = padMode === "replicate";
  const shapes = { "conv.weight": [outChannels, inChannels, ...kernel], "conv.bias": [outChannels] };
  expectCaseWeights(c, context.weights(), new Map(Object.entries(shapes)));
  const cached: Record<string, Layout> = cache && !replicate ? { cache: Layout.inOrder("input.conv_cache", cache.shape) } : {};
  return runOnce(c, context, {
    inputs: { x: Layout.inOrder("input.inputs", x.shape), ...cached },
    build: (g, inputs) => {
      const y = conv3d(channelsLast(inputs["x"]!, { dtype: context.dtype }), g.weight("conv.weight", shapes["conv.weight"]), {
        bias: g.weight("conv.bias", [outChannels]),
        stride: strides,
        dilation,
        padMode: replicate ? "replicate" : "zeros",
        // The reference hands its two paddings over in the order width, height; where it pads by itself they are in place.
        ...(replicate ? {} : { pad: [half(kernel[2]), half(kernel[2]), half(kernel[1]), half(kernel[1])] as const }),
        dtype: context.dtype,
        ...(inputs["cache"] ? { cache: channelsLast(inputs["cache"], { dtype: context.dtype }) } : {}),
      });
      return { sample: channelsFirst(y, outChannels) };
    },
  });
};

const spatialNorm3d: ReferenceModule = async (c, context) => {
  const [f, zq] = [inputOf(c, "f", 5), inputOf(c, "zq", 5)];
  const { f_channels: channels, zq_channels: latents, groups = 32 } = c.config as Record<string, number>;
  if (!channels || !latents)
    throw new CogwheelError(
      "reference",
      `${c.name}: the config must have f_channels and zq_channels, got ${JSON.stringify(c.config)}; add them`,
    );
  const { dtype } = context;
  const inputs = { f: Layout.inOrder("input.f", f.shape), zq: Layout.inOrder("input.zq", zq.shape) };
  const build = (g: Graph, x: Readonly<Record<string, Tensor>>) => {
    const z = channelsLast(x["zq"]!, { dtype });
    const conv = (name: string) =>
      conv3d(z, g.weight(`${name}.conv.weight`, [channels, latents, 1, 1, 1]), { bias: g.weight(`${name}.conv.bias`, [channels]) });
    const y = groupNorm(
      channelsLast(x["f"]!, { dtype }),
      g.weight("norm_layer.weight", [channels]),
      g.weight("norm_layer.bias", [channels]),
      {
        groups,
        eps: 1e-6,
        dtype,
        spatial: { scale: conv("conv_y"), shift: conv("conv_b") },
      },
    );
    return { sample: channelsFirst(y, channels) };
  };
  return runOnce(c, context, { inputs, build });
};

/** The case's VAE, its config and weights checked. */
function vaeOf(c: ReferenceCase, context: ModuleContext, part: "encode" | "decode"): CausalVae {
  const config = parseVaeConfig(c.config, c.name);
  expectCaseWeights(c, context.weights(), vaeWeights(config, [part]));
  return CausalVae.create(context.gpu, config, context.weights(), { dtype: context.dtype });
}

/** `tiling`: true, or the arguments of the reference's enable_tiling. */
function tilingOf(c: ReferenceCase): { tiling?: Tiling } {
  const { tiling } = c.options;
  if (tiling === undefined || tiling === null || tiling === false) return {};
  const known = ["tile_sample_min_height", "tile_sample_min_width", "tile_overlap_factor_height", "tile_overlap_factor_width"];
  const given = tiling === true ? {} : (tiling as Record<string, unknown>);
  const wrong =
    typeof given !== "object" ? "tiling" : Object.keys(given).find((key) => !known.includes(key) || typeof given[key] !== "number");
  if (wrong)
    throw new CogwheelError(
      "reference",
      `${c.name}: tiling must be true or hold numbers under ${known.join(", ")}, got ${JSON.stringify(tiling)}; correct ${wrong}`,
    );
  return { tiling: given };
}

const shapeOf = ({ shape }: HostTensor) => {
  const [batch, , frames, height, width] = shape as unknown as Shape5;
  return { batch, frames, height, width };
};

/** Tiles run in another order than the reference's, so they are not followed. */
function running(c: ReferenceCase, context: ModuleContext) {
  const tiling = tilingOf(c);
  return { checkFinite: context.checkFinite, ...tiling, ...("tiling" in tiling ? {} : context.follow(vaeGuide)) };
}

/** Has the case gradients? Nothing is differentiated through tiles that blend. */
function differentiated(c: ReferenceCase): boolean {
  if (c.gradients.size === 0) return false;
  if ("tiling" in tilingOf(c))
    throw new CogwheelError(
      "reference",
      `${c.name}: gradients are those of a whole picture, got tiling; leave it out, or cotangent.… and grad.…`,
    );
  return true;
}

const encode: ReferenceModule = async (c, context) => {
  const x = inputOf(c, "x", 5);
  if (differentiated(c)) return halfGradients(c, context, "encode", "x");
  using vae = vaeOf(c, context, "encode");
  const { mean, logvar, shape } = await vae.encode(x.data, shapeOf(x), running(c, context));
  return { mean: { shape, data: mean }, logvar: { shape, data: logvar } };
};

const decode: ReferenceModule = async (c, context) => {
  const z = inputOf(c, "z", 5);
  if (differentiated(c)) return halfGradients(c, context, "decode", "z");
  using vae = vaeOf(c, context, "decode");
  const { data, shape } = await vae.decode(z.data, shapeOf(z), running(c, context));
  return { sample: { shape, data } };
};

export const vaeModules: Record<string, ReferenceModule> = {
  CogVideoXCausalConv3d: causalConv3d,
  CogVideoXSpatialNorm3D: spatialNorm3d,
  "AutoencoderKLCogVideoX.encode": encode,
  "AutoencoderKLCogVideoX.decode": decode,
};
