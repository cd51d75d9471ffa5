// gate_sums.wgsl — of each chunk of tokens and each row of a table, the sum of x · dy over the chunk's tokens that name the row
//
// Shapes    x, dy [M, N] · rows [M], in any order · sums [S, G, N]
// Work      a workgroup has one row of the table, one chunk and WG vectors of columns; it goes through the chunk's rows, and reads x and dy
//           where its own is named. So each token is read once, and a token's row G times by every workgroup of its columns.
// Dispatch  (ceil(N / (4·WG)) · G · S, folded, 1)
// Cost      reads both once; bandwidth bound while G is small
// Needs     N % 4 == 0 (checked in src/ops/gated_add_gradient.ts)
// Numerics  f32, in the order of the tokens; the chunks are summed by sum_parts.wgsl
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias G = f32;
//! end
override WG: u32 = 64;
// m: tokens bound · n4: vectors of a row · table: rows of the table · chunk: tokens of one · groups: workgroups · part: their first chunk
struct Params { m: u32, n4: u32, table: u32, chunk: u32, groups: u32, part: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let across = (params.n4 + WG - 1u) / WG;
  let column = group % across * WG + lane;
  // A chunk and a row of the table.
  let part = group / across;
  let row = part % params.table;
  let first = part / params.table * params.chunk;
  if (column >= params.n4) { return; }
  var sum = vec4<f32>();
  for (var m = first; m < min(first + params.chunk, params.m); m++) {
    if (rows[m] == row) { sum += vec4<f32>(x[m * params.n4 + column]) * vec4<f32>(dy[m * params.n4 + column]); }
  }
  sums[(params.part * params.table + part) * params.n4 + column] = sum;
}
