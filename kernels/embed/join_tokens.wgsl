// join_tokens.wgsl — rows of x into a part of the joint sequence, with positions added
//
// Shapes    x [Rx, D] · position [P, D] (POSITION) · y [R, D]: y[to + r] = x[from + r] + position[offset + r]
// Work      one thread a vec4
// Dispatch  (ceil(rows · D/4 / 64), folded, 1)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const POSITION: bool = false;
//! end
struct Params { rows: u32, d4: u32, from_row: u32, to_row: u32, position_row: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> position: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.rows * params.d4) { return; }
  var v = vec4<f32>(x[params.from_row * params.d4 + i]);
  if (POSITION) { v += position[params.position_row * params.d4 + i]; }
  y[params.to_row * params.d4 + i] = vec4<Y>(v);
}
