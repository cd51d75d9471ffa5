// channels_last.wgsl — [B, C, P] → [B, P, Cp]: the reference's layout to the engine's, channels padded with zeros
//
// Shapes    x [B, C, P] f32 · y [B, P, Cp], Cp = C padded to a multiple of 4
// Work      one lane per vector of y; neighbours take neighbouring positions, so reads run along P
// Dispatch  (ceil(P / WG), folded, B · Cp/4)
// Cost      reads x once, writes y once; bandwidth bound
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias Y = f32;
//! end
override WG: u32 = 64;
// count: positions of this dispatch, from the `first` on
struct Params { count: u32, first: u32, positions: u32, channels: u32, x_base: u32, y_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.count) { return; }
  let p = params.first + id;
  let c4 = (params.channels + 3u) / 4u;
  let batch = wid.z / c4;
  let c = (wid.z % c4) * 4u;
  let at = params.x_base + (batch * params.channels + c) * params.positions + p;
  var v = vec4<f32>(x[at], 0.0, 0.0, 0.0);
  if (c + 1u < params.channels) { v.y = x[at + params.positions]; }
  if (c + 2u < params.channels) { v.z = x[at + 2u * params.positions]; }
  if (c + 3u < params.channels) { v.w = x[at + 3u * params.positions]; }
  y[params.y_base + (batch * params.positions + p) * c4 + wid.z % c4] = vec4<Y>(v);
}
