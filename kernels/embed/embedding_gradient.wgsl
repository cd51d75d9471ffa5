// embedding_gradient.wgsl — dtable[v] = the sum of dy[r] over the rows r that read row v of the table, in their order
//
// Shapes    ids [R] · readers [V, 2]: the first and the last row that read a row of the table; a first past the last where none does
//           of dy [R, C] `rows` rows from `first` on, of dtable [V, C] f32 `count` rows from `table_first` on
// Work      one thread a vec4 of dtable, which goes from its first reader to its last. Mostly that is one row, or few that lie together;
//           readers far apart cost a look at each id between
// Dispatch  (ceil(V · C/4 / 64), folded, 1)
// Cost      reads dy once, writes dtable once; bandwidth bound
// Needs     C % 4 == 0; an id past the table counts as its last row, as in embedding.wgsl · ADD: what earlier windows of dy gave lies there
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias G = f32;
const ADD: bool = false;
//! end
struct Params { count: u32, c4: u32, table_first: u32, first: u32, rows: u32, vocab: u32 }
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> readers: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(4) var<storage, read_write> dtable: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count * params.c4) { return; }
  let row = params.table_first + i / params.c4;
  var sum = vec4<f32>();
  if (ADD) { sum = dtable[i]; }
  // Rows of this window of dy alone; none where the last is before the first.
  let begin = max(readers[row].x, params.first);
  let end = min(readers[row].y + 1u, params.first + params.rows);
  for (var r = begin; r < end; r++) {
    if (min(ids[r], params.vocab - 1u) == row) { sum += vec4<f32>(dy[(r - params.first) * params.c4 + i % params.c4]); }
  }
  dtable[i] = sum;
}
