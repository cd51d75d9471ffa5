// patchify.wgsl — latents [n, F, C, H, W] ↔ tokens of PT × P × P patches
//
// Shapes    x [n, F, C, H, W] and, on channels after them, extra [n, F, C2, H, W] · y [B, F/PT · H/P · W/P, (C + C2)·PT·P·P]
//           with B a multiple of n: the batch is repeated (guidance runs one sample under two prompts). A token's values are
//           in the order (channel, frame, row, column) of the published projections.
// Work      one thread a value; with INVERSE one of latents y [n, F, C, H, W], gathered from tokens x [B, …, stride], of which the
//           channels from C2 on are taken, and summed over the `repeats` = B / n samples that repeat it
// Dispatch  (ceil(values / 64), folded, 1)
// Cost      a copy
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias E = f32;
alias Y = f32;
const P: u32 = 2u;
const PT: u32 = 1u;
const EXTRA: bool = false;
const INVERSE: bool = false;
//! end
struct Params {
  count: u32, base: u32, samples: u32, frames: u32, channels: u32, extra_channels: u32, height: u32, width: u32, stride: u32, repeats: u32,
}
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> extra: array<E>;
@group(0) @binding(3) var<storage, read_write> y: array<Y>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  let index = params.base + i;
  if (INVERSE) {
    let all = params.channels;
    let w = index % params.width;
    let h = (index / params.width) % params.height;
    let c = (index / (params.width * params.height)) % all;
    let f = (index / (params.width * params.height * all)) % params.frames;
    let b = index / (params.width * params.height * all * params.frames);
    let token = ((b * (params.frames / PT) + f / PT) * (params.height / P) + h / P) * (params.width / P) + w / P;
    let at = token * params.stride + (((params.extra_channels + c) * PT + f % PT) * P + h % P) * P + w % P;
    var sum = f32(x[at]);
    let sample = params.samples * (params.frames / PT) * (params.height / P) * (params.width / P) * params.stride;
    for (var k = 1u; k < params.repeats; k++) { sum += f32(x[at + k * sample]); }
    y[i] = Y(sum);
  } else {
    let all = params.channels + params.extra_channels;
    let values = all * PT * P * P;
    let token = index / values;
    let v = index % values;
    let c = v / (PT * P * P);
    let w = (token % (params.width / P)) * P + v % P;
    let h = ((token / (params.width / P)) % (params.height / P)) * P + (v / P) % P;
    let frame_tokens = (params.width / P) * (params.height / P);
    let f = ((token / frame_tokens) % (params.frames / PT)) * PT + (v / (P * P)) % PT;
    let b = (token / (frame_tokens * (params.frames / PT))) % params.samples;
    if (EXTRA && c >= params.channels) {
      y[i] = Y(extra[(((b * params.frames + f) * params.extra_channels + c - params.channels) * params.height + h) * params.width + w]);
    } else {
      y[i] = Y(x[(((b * params.frames + f) * params.channels + c) * params.height + h) * params.width + w]);
    }
  }
}
