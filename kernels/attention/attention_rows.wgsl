// attention_rows.wgsl — dy by head, and what a query's gradient needs beside it: its log-sum-exp, and dy·y
//
// Shapes    y, dy [Rq, N·D], queries from row_base on · lse [N, Rq] of all heads
//           rows [heads, Rq, D4 + 1] vectors: dy, then (lse, Σ dy·y, 0, 0)
//           HALF: [heads, Rq, D8 + 1] words of 8 halves, the last (lse, Σ dy·y, 0, 0) in f32 all the same
// Work      one thread a query of a head; neighbours have heads that lie side by side
// Dispatch  (heads · queries / 64, folded, 1)
// Cost      reads y and dy once, writes rows once; bandwidth bound
// Needs     D % 4 == 0; HALF: D % 8 == 0
// Numerics  f32 sums
// After     the row sums D of Dao et al. 2022, arXiv:2205.14135
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias Y = f32;
alias G = f32;
const HALF: bool = false;
//! end
// rows_q: of a head · count: queries of this dispatch · heads: of this dispatch, from head_base on of heads_total
struct Params { d4: u32, rows_q: u32, row_base: u32, count: u32, heads: u32, head_base: u32, heads_total: u32 }
@group(0) @binding(1) var<storage, read> y: array<vec4<Y>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read_write> rows: array<vec4<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count * params.heads) { return; }
  let head = i % params.heads;
  let row = i / params.heads;
  let from_ = (row * params.heads_total + params.head_base + head) * params.d4;
  let per = select(params.d4, params.d4 / 2u, HALF);
  let to = (head * params.rows_q + params.row_base + row) * (per + 1u);
  var sum = vec4<f32>();
  for (var c = 0u; c < params.d4; c++) {
    let g = vec4<f32>(dy[from_ + c]);
    sum = fma(g, vec4<f32>(y[from_ + c]), sum);
    if (!HALF) {
      rows[to + c] = bitcast<vec4<u32>>(g);
    } else if (c % 2u == 1u) {
      let before = vec4<f32>(dy[from_ + c - 1u]);
      rows[to + c / 2u] =
        vec4<u32>(pack2x16float(before.xy), pack2x16float(before.zw), pack2x16float(g.xy), pack2x16float(g.zw));
    }
  }
  let total = (sum.x + sum.y) + (sum.z + sum.w);
  rows[to + per] =
    vec4<u32>(bitcast<u32>(lse[(params.head_base + head) * params.rows_q + params.row_base + row]), bitcast<u32>(total), 0u, 0u);
}
