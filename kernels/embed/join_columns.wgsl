// join_columns.wgsl — y = (a | b), row by row
//
// Shapes    a [R, A], b [R, B], y [R, A + B]
// Work      one thread a value of y
// Dispatch  (ceil(R·(A + B) / 64), folded, 1)
// Cost      a copy
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias A = f32;
alias B = f32;
alias Y = f32;
//! end
struct Params { count: u32, first: u32, second: u32 }
@group(0) @binding(1) var<storage, read> a: array<A>;
@group(0) @binding(2) var<storage, read> b: array<B>;
@group(0) @binding(3) var<storage, read_write> y: array<Y>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  let row = i / (params.first + params.second);
  let column = i % (params.first + params.second);
  if (column < params.first) { y[i] = Y(a[row * params.first + column]); } else {
    y[i] = Y(b[row * params.second + column - params.first]);
  }
}
