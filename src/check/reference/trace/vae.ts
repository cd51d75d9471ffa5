/**
 * What the nodes of the causal VAE must equal. A run is a batch of frames, as a call of the reference's encoder or decoder is.
 *
 *   B batch · T, H, W frames, rows, columns · C channels; the engine has them last and padded to a multiple of 4
 */
import type { Node } from "../../../graph/op.ts";
import type { Tensor } from "../../../graph/tensor.ts";
import type { HostTensor } from "../reference-case.ts";
import { causalCacheOp } from "../../../ops/causal_cache.ts";
import { conv3dOp } from "../../../ops/conv3d.ts";
import { groupNormApplyOp } from "../../../ops/group_norm_apply.ts";
import { temporalPoolOp } from "../../../ops/temporal_pool.ts";
import { silu, tensorOf, weightModules, type Guide, type Reference, type Sight } from "./tracer.ts";

export const vaeGuide: Guide = (node, reference) => {
  const get = (path: string) => reference.get(path);
  const { scope } = node;
  switch (node.op) {
    case groupNormApplyOp:
      return [sight(node, scope, silu(get(`${scope}:0`) ?? get(scope)), "and SiLU")];
    case causalCacheOp:
      return [sight(node, scope, get(`${scope}:1`), "conv_cache")];
    case temporalPoolOp:
      return [sight(node, scope, unpadded(get(`${scope}.conv:input`), node), "pooled in time")];
    case conv3dOp:
      return convolution(node, weightModules(node)[0] ?? "", reference);
    default:
      return [];
  }
};

function convolution(node: Node, weight: string, reference: Reference): readonly Sight[] {
  const module = weight.replace(/\.conv$/, "");
  if (/\.conv_[yb]$/.test(module)) return [sight(node, module, shrunk(reference.get(`${module}:0`), node), "before resizing")];
  if (module.endsWith(".conv2")) return [sight(node, module, reference.get(`${module.replace(/\.conv2$/, "")}:0`), "plus the shortcut")];
  return [sight(node, module, reference.get(`${module}:0`) ?? reference.get(module))];
}

/** The engine's [B, T, H, W, C padded] against [B, C, T, H, W]. */
function sight(node: Node, module: string, want: HostTensor | undefined, what?: string): Sight {
  const padded = (Object.values(node.outputs)[0] as Tensor).dim(-1);
  const [, channels = 1, ...rest] = want?.shape ?? [];
  const plane = rest.reduce((a, b) => a * b, 1);
  return {
    module,
    want,
    ...(what ? { what } : {}),
    arrange: (data) =>
      tensorOf(
        [data.length / padded / plane, channels, plane],
        (i) => data[(Math.floor(i / (channels * plane)) * plane + (i % plane)) * padded + (Math.floor(i / plane) % channels)]!,
      ).data,
  };
}

/** [B·T, C, H + 1, W + 1], as a convolution gets it, without the row and column of zeros → [B, C, T, H, W] of the node. */
function unpadded(tensor: HostTensor | undefined, node: Node): HostTensor | undefined {
  if (!tensor) return undefined;
  const [batch, frames, height, width] = (Object.values(node.outputs)[0] as Tensor).shape as [number, number, number, number];
  const [, channels, rows, stride] = tensor.shape as [number, number, number, number];
  return pick(
    [batch, channels, frames, height, width],
    (b, c, t, y, x) => tensor.data[(((b * frames + t) * channels + c) * rows + y) * stride + x]!,
  );
}

/** The places of a resized latent that the small one's values went to: nearest neighbour, an odd number of frames keeps its first apart. */
function shrunk(tensor: HostTensor | undefined, node: Node): HostTensor | undefined {
  if (!tensor) return undefined;
  const [batch, frames, height, width] = (Object.values(node.outputs)[0] as Tensor).shape as [number, number, number, number];
  const [, channels, t1, h1, w1] = tensor.shape as [number, number, number, number, number];
  const apart = t1 > 1 && t1 % 2 === 1;
  const frame = (t: number) => (apart ? (t === 0 ? 0 : 1 + ((t - 1) * (t1 - 1)) / (frames - 1)) : (t * t1) / frames);
  return pick(
    [batch, channels, frames, height, width],
    (b, c, t, y, x) =>
      tensor.data[
        (((b * channels + c) * t1 + Math.ceil(frame(t))) * h1 + Math.ceil((y * h1) / height)) * w1 + Math.ceil((x * w1) / width)
      ]!,
  );
}

function pick(
  shape: readonly [number, number, number, number, number],
  value: (b: number, c: number, t: number, y: number, x: number) => number,
): HostTensor {
  const [, channels, frames, height, width] = shape;
  return tensorOf(shape, (i) =>
    value(
      Math.floor(i / (channels * frames * height * width)),
      Math.floor(i / (frames * height * width)) % channels,
      Math.floor(i / (height * width)) % frames,
      Math.floor(i / width) % height,
      i % width,
    ),
  );
}
