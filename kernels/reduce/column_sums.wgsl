// column_sums.wgsl — the sums of each column over chunks of rows
//
// Shapes    x [M, N] · sums [S, N]
// Work      one thread has a vector of columns of one chunk
// Dispatch  (ceil(N / (4·WG)) · S, folded, 1)
// Cost      reads x once; bandwidth bound
// Needs     N % 4 == 0 (checked in src/ops/column_sums.ts)
// Numerics  f32, in the order of the rows; the chunks are summed by sum_parts.wgsl
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
override WG: u32 = 64;
// m: rows bound · n4: vectors of one · chunk: rows of one · groups: workgroups · part: their first chunk
struct Params { m: u32, n4: u32, chunk: u32, groups: u32, part: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let across = (params.n4 + WG - 1u) / WG;
  let column = group % across * WG + lane;
  let part = group / across;
  let first = part * params.chunk;
  if (column >= params.n4) { return; }
  var sum = vec4<f32>();
  for (var m = first; m < min(first + params.chunk, params.m); m++) { sum += vec4<f32>(x[m * params.n4 + column]); }
  sums[(params.part + part) * params.n4 + column] = sum;
}
