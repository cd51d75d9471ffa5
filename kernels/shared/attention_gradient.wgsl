// shared/attention_gradient.wgsl — what kernels of attention's gradient have: params, operands, rows of dy with their sums, tiles
//
// Expects   `params` of type Params

//! specialise
alias X = f32;
//! end
// d4: vectors of a row of a head · rows_q, rows_k: of a head · heads: bound ones · tiles: of the list
struct Params { d4: u32, rows_q: u32, rows_k: u32, heads: u32, tiles: u32, scale: f32 }
@group(0) @binding(1) var<storage, read> q: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<X>>;
// dy by head, a row of it (log-sum-exp, dy·y, 0, 0) after its d4 vectors (attention_rows.wgsl)
@group(0) @binding(4) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> tiles: array<vec4<u32>>;
