// embedding.wgsl — y[i] = table[ids[i]], for the rows of the table that are bound
//
// Shapes    ids [R] · table: rows first … first + rows of [V, C] row-major · y [R, C]
// Work      one thread per vec4 of y. A table larger than a binding is bound in windows of rows, one dispatch each;
//           a token is written by the one window that holds its row
// Dispatch  (ceil(R·C/4 / 64), folded, 1)
// Cost      reads R rows, writes R rows; bandwidth bound
// Needs     C % 4 == 0 (checked in src/ops/embedding.ts and gather_rows.ts)
//           an id past the table takes its last row; ZEROS: it names none, and its row of y is zeros, which the first window writes
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias T = f32;
alias Y = f32;
const ZEROS: bool = false;
//! end
struct Params { count: u32, c4: u32, first: u32, rows: u32, vocab: u32 }
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<vec4<T>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count * params.c4) { return; }
  let id = ids[i / params.c4];
  if (ZEROS && id >= params.vocab) {
    if (params.first == 0u) { y[i] = vec4<Y>(); }
    return;
  }
  let row = min(id, params.vocab - 1u);
  if (row < params.first || row - params.first >= params.rows) { return; }
  y[i] = vec4<Y>(table[(row - params.first) * params.c4 + i % params.c4]);
}
