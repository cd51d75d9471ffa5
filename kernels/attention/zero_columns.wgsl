// zero_columns.wgsl — zeros in columns of y: the log-sum-exp that attention gives where no segment covers a query
//
// Shapes    columns [C]: columns of y · y [N, Rq]
// Work      one thread a value
// Dispatch  (ceil(N·C / 64), folded, 1)
// Cost      writes C columns
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
struct Params { count: u32, rows: u32, row: u32 }
@group(0) @binding(1) var<storage, read> columns: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count * params.rows) { return; }
  y[i / params.count * params.row + columns[i % params.count]] = 0.0;
}
