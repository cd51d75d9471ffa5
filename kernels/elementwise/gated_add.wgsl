// gated_add.wgsl — y = gate[row] · x (+ residual), a row of a table for each row of x
//
// Shapes    x, residual, y [M, N] · gate [G, N], gate_row [M]
// Work      one thread a vec4
// Dispatch  (ceil(M·N / 256), folded, 1)
// Cost      reads x and the residual once, writes y once; bandwidth bound
// Needs     N % 4 == 0 (checked in src/ops/gated_add.ts)
// Numerics  f32; ACCUMULATE: the residual lies in y
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const RESIDUAL: bool = false;
const ACCUMULATE: bool = false;
//! end
// count4: vectors of y · n4: of a row
struct Params { count4: u32, n4: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gate_row: array<u32>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  var v = vec4<f32>(x[i]) * gate[gate_row[i / params.n4] * params.n4 + i % params.n4];
  if (RESIDUAL) { v += residual[i]; }
  if (ACCUMULATE) { v += vec4<f32>(y[i]); }
  y[i] = vec4<Y>(v);
}
