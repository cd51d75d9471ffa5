/**
 * `cogwheel-webgpu/graph`: the lower door, for people who build other models, ops and kernels on the engine. Record ops into a `Graph`,
 * `compile` it for an adapter, keep a `Program` and run it; docs/tour.md says how these fit together.
 */
import "./base/dispose.ts";
export type { DType } from "./graph/dtype.ts";
export { Graph } from "./graph/graph.ts";
export type { Cost, Dispatch, Node, Op, Target, View } from "./graph/op.ts";
export { Tensor, type TensorSpec } from "./graph/tensor.ts";
export { compile, type CompileOptions, type Plan, type WeightRequest } from "./plan/compile.ts";
export { Program, type ProgramOptions, type RunOptions } from "./run/program.ts";
export { States } from "./run/states.ts";
export { WeightStore, type LoadOptions } from "./run/weight-store.ts";
export type { StoredWeight } from "./graph/stored.ts";
export { storedValues, type WeightProvider } from "./run/weight-provider.ts";
export { runGraph } from "./run/run-graph.ts";
export { differentiate, type Cotangent, type DifferentiateOptions } from "./gradient/differentiate.ts";
export { dispatch, foldGrid, rowView, rowWindows, type RowWindow } from "./plan/dispatch.ts";
export { PANEL, type Packing } from "./graph/packing.ts";
export { defineKernel } from "./gpu/define-kernel.ts";
export type { Kernel, KernelShape, ScalarType } from "./gpu/kernel.ts";
export { Gpu, type OpenGpuOptions } from "./gpu/gpu.ts";
export type { Capabilities } from "./gpu/capabilities.ts";
export { Profile, type ProfileRow } from "./gpu/profile.ts";
export { CogwheelError } from "./base/errors.ts";
export { openSource } from "./hub/open.ts";
export { openCheckpoint, type Checkpoint, type Component } from "./checkpoint/checkpoint.ts";
export { ComponentWeights } from "./checkpoint/component-weights.ts";
export { add } from "./ops/add.ts";
export { attention, batchSegments, type AttentionOptions, type Segment } from "./ops/attention.ts";
export { causalCache } from "./ops/causal_cache.ts";
export { channelsFirst, channelsLast } from "./ops/channels.ts";
export { conv3d, type Conv3dOptions } from "./ops/conv3d.ts";
export { embedding } from "./ops/embedding.ts";
export { gatedGelu } from "./ops/gated_gelu.ts";
export { groupNorm } from "./ops/group_norm.ts";
export { layerNorm } from "./ops/layer_norm.ts";
export { matmul, type MatmulOptions } from "./ops/matmul.ts";
export { nearestUpsample } from "./ops/nearest_upsample.ts";
export { padColumns } from "./ops/pad_columns.ts";
export { pixels } from "./ops/pixels.ts";
export { qkNormRope, type QkOptions } from "./ops/qk_norm_rope.ts";
export { relativeBias } from "./ops/relative_bias.ts";
export { rmsNorm } from "./ops/rms_norm.ts";
export { silu } from "./ops/silu.ts";
export { temporalPool } from "./ops/temporal_pool.ts";
export { unpack, type UnpackOptions } from "./ops/unpack.ts";
export { FORMATS, type Format } from "./graph/stored.ts";
