// group_norm_gradient_merge.wgsl — sums over all positions → what every channel's group takes off dx, and the gradients of weight and bias
//
// Shapes    totals [B, 3, Cp]: count, Σ dn, Σ dn · x̂ of each channel · norm [B, 2, Cp]: mean, rstd · weight, dweight, dbias [C]
//           merged [B, 4, Cp]: mean, rstd, and the means of dn · weight and dn · weight · x̂ over the channel's group; zeros where padded
// Work      one lane a channel; those of a group add the same values in the same order
// Dispatch  (ceil(Cp / WG), 1, 1)
// Cost      small
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
override WG: u32 = 64;
// channels: C · group: channels of one group · padded: Cp
struct Params { batches: u32, channels: u32, group: u32, padded: u32 }
@group(0) @binding(1) var<storage, read> totals: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> merged: array<f32>;
@group(0) @binding(5) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(6) var<storage, read_write> dbias: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let c = wid.x * WG + lane;
  if (c >= params.padded) { return; }
  let first = c / params.group * params.group;
  var own = vec2<f32>();
  for (var b = 0u; b < params.batches; b++) {
    let row = b * 3u * params.padded;
    var count = 0.0;
    var sums = vec2<f32>();
    if (c < params.channels) {
      for (var i = first; i < first + params.group; i++) {
        count += totals[row + i];
        sums += weight[i] * vec2<f32>(totals[row + params.padded + i], totals[row + 2u * params.padded + i]);
      }
      own += vec2<f32>(totals[row + params.padded + c], totals[row + 2u * params.padded + c]);
      sums /= count;
    }
    let to = 4u * b * params.padded + c;
    merged[to] = norm[2u * b * params.padded + c];
    merged[to + params.padded] = norm[(2u * b + 1u) * params.padded + c];
    merged[to + 2u * params.padded] = sums.x;
    merged[to + 3u * params.padded] = sums.y;
  }
  if (c < params.channels) {
    dbias[c] = own.x;
    dweight[c] = own.y;
  }
}
