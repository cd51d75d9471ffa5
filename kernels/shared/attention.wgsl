// shared/attention.wgsl — what every kernel of attention has: params, the list of tiles, bias, results
//
// Expects   `q`, `k`, `v` at bindings 1 to 3

// d4: vectors of a row of a head · rows_q, rows_k: of a head · heads: bound ones, from head_base on of heads_total · tiles: of the list
// row_base: query that y begins with · longest: positions of the longest segment
struct Params {
  d4: u32, rows_q: u32, rows_k: u32, heads: u32, head_base: u32, heads_total: u32,
  tiles: u32, row_base: u32, scale: f32, longest: u32,
}
@group(0) @binding(4) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<Y>>;
// LSE: logarithms of the sums of exp(score), for gradients, [N, Rq] of all heads
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;
//! specialise
alias Y = f32;
const BIAS: bool = false;
const LSE: bool = false;
//! end

const MASKED: f32 = -1e30;
