// sum_groups.wgsl — y[g] = the sum of the rows of group g, in a fixed order
//
// Shapes    x [S, C] f32, the rows of a group together · y [G, C] f32
//           first [G + 1]: group g has the rows from first[g] on, before first[g + 1]
// Work      ROWS lanes share a vec4 of columns: each sums every ROWS-th row of the group, and the first adds what they have in order.
//           So few columns of many parts are no long chain of loads, as they would be for one thread
// Dispatch  (ceil(C/4 / (WG / ROWS)) · G, folded, 1)
// Cost      reads x once
// Needs     C a multiple of 4 · WG a multiple of ROWS
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const ROWS: u32 = 16u;
//! end
const WG: u32 = 64u;
struct Params { c4: u32, groups: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> first: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

const COLUMNS: u32 = WG / ROWS;
var<workgroup> sh_sum: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let blocks = (params.c4 + COLUMNS - 1u) / COLUMNS;
  let block = wid.y * grid.x + wid.x;
  let group = block / blocks;
  if (group >= params.groups) { return; }
  let column = (block % blocks) * COLUMNS + lane % COLUMNS;
  let part = lane / COLUMNS;
  var sum = vec4<f32>();
  if (column < params.c4) {
    for (var s = first[group] + part; s < first[group + 1u]; s += ROWS) { sum += x[s * params.c4 + column]; }
  }
  if (ROWS > 1u) {
    sh_sum[lane] = sum;
    workgroupBarrier();
    for (var r = 1u; r < ROWS; r++) { sum += sh_sum[r * COLUMNS + lane % COLUMNS]; }
  }
  if (part == 0u && column < params.c4) { y[group * params.c4 + column] = sum; }
}
