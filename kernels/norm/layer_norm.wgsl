// layer_norm.wgsl — y = LayerNorm(x) · (1 + scale) + shift: the expert AdaLN in one pass over the row
//
// Shapes    x [Rx, S] row-major with D ≤ S real columns, the rest zero · weight, bias [D] · y [R, S]
//           source [R] (GATHER): row r of y comes from row source[r] of x
//           table [G, S] with row_of [R] (MODULATE): row row_of[r] is the shift, the next one the scale. A text and a video
//           token differ only in that index, and so do the tokens of clips packed into one sequence.
// Work      one workgroup a row; WG threads stride over its vectors; tree sums in sh_sum
// Dispatch  (R, folded, 1)
// Cost      reads x, writes y; bandwidth bound
// Numerics  f32; two-pass variance
// After     Ba et al. 2016, arXiv:1607.06450; Perez et al. 2018 (FiLM); CogVideoX, arXiv:2408.06072, section 2.2
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const AFFINE: bool = false;
const MODULATE: bool = false;
const GATHER: bool = false;
const WG: u32 = 64u;
//! end
struct Params { rows: u32, d: u32, stride4: u32, eps: f32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> row_of: array<u32>;
@group(0) @binding(6) var<storage, read> source: array<u32>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<Y>>;

var<workgroup> sh_sum: array<f32, WG>;

fn row_sum(value: f32, lane: u32) -> f32 {
  sh_sum[lane] = value;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
    workgroupBarrier();
  }
  let total = sh_sum[0];
  workgroupBarrier();
  return total;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  if (row >= params.rows) { return; }
  var from_row = row;
  if (GATHER) { from_row = source[row]; }
  let base = from_row * params.stride4;
  let columns = (params.d + 3u) / 4u;
  let d = f32(params.d);

  var sum = 0.0;
  for (var i = lane; i < columns; i += WG) { sum += dot(vec4<f32>(x[base + i]), vec4<f32>(1.0)); }
  let mean = row_sum(sum, lane) / d;
  var squares = 0.0;
  for (var i = lane; i < columns; i += WG) {
    let real = vec4<u32>(i * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.d);
    let c = select(vec4<f32>(), vec4<f32>(x[base + i]) - mean, real);
    squares += dot(c, c);
  }
  let rstd = 1.0 / sqrt(row_sum(squares, lane) / d + params.eps);

  var shift = 0u;
  if (MODULATE) { shift = row_of[row] * params.stride4; }
  for (var i = lane; i < columns; i += WG) {
    var v = (vec4<f32>(x[base + i]) - mean) * rstd;
    if (AFFINE) { v = v * weight[i] + bias[i]; }
    if (MODULATE) { v = v * (1.0 + table[shift + params.stride4 + i]) + table[shift + i]; }
    y[row * params.stride4 + i] = vec4<Y>(v);
  }
}
