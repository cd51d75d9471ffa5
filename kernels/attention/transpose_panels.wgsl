// transpose_panels.wgsl — values [N, R, D] → [N, ceil(R/16), D, 16], the layout that attention's kernels for CPU adapters read
//
// Work      one thread writes one vec4: 4 keys of one column
// Dispatch  (N · panels · D · 4 / 64, folded, 1)
// Cost      reads and writes x once
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
//! end
// stride: values from row to row of x
struct Params { d: u32, rows: u32, count: u32, stride: u32 }
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  let panels = (params.rows + 15u) / 16u;
  let column = (i / 4u) % params.d;
  let panel = i / (4u * params.d);
  let head = panel / panels;
  let key = (panel % panels) * 16u + (i % 4u) * 4u;
  let end = params.rows - 1u;
  let base = head * params.rows;
  y[i] = vec4<Y>(vec4<X>(
    x[(base + min(key, end)) * params.stride + column], x[(base + min(key + 1u, end)) * params.stride + column],
    x[(base + min(key + 2u, end)) * params.stride + column], x[(base + min(key + 3u, end)) * params.stride + column]));
}
