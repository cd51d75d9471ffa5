// zero_rows.wgsl — zeros in rows of y: what attention gives where no segment covers a query
//
// Shapes    rows [R]: rows of y, counted from row_base · y [Rq, C]
// Work      one thread a vec4
// Dispatch  (ceil(R·C/4 / 64), folded, 1)
// Cost      writes R rows
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias Y = f32;
//! end
struct Params { count: u32, c4: u32, row_base: u32 }
@group(0) @binding(1) var<storage, read> rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count * params.c4) { return; }
  y[(rows[i / params.c4] - params.row_base) * params.c4 + i % params.c4] = vec4<Y>();
}
