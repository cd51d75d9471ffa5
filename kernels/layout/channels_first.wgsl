// channels_first.wgsl — [B, P, Cp] → [B, C, P]: the engine's layout to the reference's, without the padding
//
// Shapes    x [B, P, Cp] · y [B, C, P] f32
// Work      one lane per vector of x; neighbours take neighbouring positions, so writes run along P
// Dispatch  (ceil(P / WG), folded, B · ceil(C/4))
// Cost      reads x once, writes y once; bandwidth bound
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
override WG: u32 = 64;
// count: positions of this dispatch, from the `first` on
struct Params { count: u32, first: u32, positions: u32, channels: u32, x_base: u32, y_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.count) { return; }
  let p = params.first + id;
  let c4 = (params.channels + 3u) / 4u;
  let batch = wid.z / c4;
  let c = (wid.z % c4) * 4u;
  let v = vec4<f32>(x[params.x_base + (batch * params.positions + p) * c4 + wid.z % c4]);
  let at = params.y_base + (batch * params.channels + c) * params.positions + p;
  y[at] = v.x;
  if (c + 1u < params.channels) { y[at + params.positions] = v.y; }
  if (c + 2u < params.channels) { y[at + 2u * params.positions] = v.z; }
  if (c + 3u < params.channels) { y[at + 3u * params.positions] = v.w; }
}
