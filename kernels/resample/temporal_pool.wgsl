// temporal_pool.wgsl — the mean of every two frames; with KEEP_FIRST the first of an odd number stays as it is
//
// Shapes    x [B, T, P, C] → y [B, ceil(T/2), P, C], floor(T/2) without KEEP_FIRST
// Work      one lane per vector of y
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads x once, writes half of it; bandwidth bound
// Needs     C % 4 == 0
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
const KEEP_FIRST: bool = true;
//! end
override WG: u32 = 64;
// count: vectors of y of this dispatch, from the `first` on · plane: vectors of a frame
struct Params { count: u32, first: u32, plane: u32, t_in: u32, t_out: u32, x_base: u32, y_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<X>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.count) { return; }
  let at = params.first + id;
  let frame = at / params.plane;
  let t = frame % params.t_out;
  let odd = select(0u, params.t_in & 1u, KEEP_FIRST);
  let single = odd == 1u && t == 0u;
  let source = params.x_base + (frame / params.t_out * params.t_in + select(2u * t - odd, 0u, single)) * params.plane + at % params.plane;
  let v = vec4<f32>(x[source]);
  y[params.y_base + at] = vec4<X>(select(0.5 * (v + vec4<f32>(x[source + select(params.plane, 0u, single)])), v, single));
}
