// layer_norm.wgsl — y = LayerNorm(x) · (1 + scale) + shift: the expert AdaLN in one read of the row
//
// Shapes    x [Rx, S] row-major with D ≤ S real columns; with PADDED (D < S) the rest is not counted, and zeros in y
//           weight, bias [D] · y [R, S]
//           source [R] (GATHER): row r of y comes from row source[r] of x
//           table [G, S] with row_of [R] (MODULATE): row row_of[r] is the shift, the next one the scale (SCALE_FIRST: the other way
//           round; without ONE_PLUS y = LayerNorm(x) · scale + shift). A text and a video
//           token differ only in that index, and so do the tokens of clips packed into one sequence.
// Work      one workgroup a row; each of WG threads holds PER vectors of it in registers, WG apart, so that x is read once and a
//           load of all threads is one contiguous run. Both sums are two steps, 16 partial sums in workgroup memory and
//           then all of them in each thread: 2 barriers a sum where a tree of 128 has 8.
// Dispatch  (R, folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Registers 4·PER for the row, some 20 besides: PER ≤ 4 at the widths that models have
// Needs     PER · WG vectors hold a row · WG a multiple of 16
// Numerics  f32; two-pass variance
// After     Ba et al. 2016, arXiv:1607.06450; Perez et al. 2018 (FiLM); CogVideoX, arXiv:2408.06072, section 2.2
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const WG: u32 = 64u;
const PER: u32 = 4u;
//! end
struct Params { rows: u32, d: u32, stride4: u32, eps: f32 }
//! part shared/layer_norm.wgsl
//! specialise
alias X = f32;
alias Y = f32;
const AFFINE: bool = false;
const MODULATE: bool = false;
const GATHER: bool = false;
const PADDED: bool = false;
const ONE_PLUS: bool = true;
const SCALE_FIRST: bool = false;
//! end
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> row_of: array<u32>;
@group(0) @binding(6) var<storage, read> source: array<u32>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<Y>>;

// Of vector i of a row, the columns that count.
fn real(i: u32, v: vec4<f32>) -> vec4<f32> {
  if (!PADDED) { return v; }
  return select(vec4<f32>(), v, vec4<u32>(i * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.d));
}

// Of vector i of a modulation that begins at `at` in the table: what it scales by and what it adds.
const SCALE_ROW: u32 = select(1u, 0u, SCALE_FIRST);
const UNIT: f32 = select(0.0, 1.0, ONE_PLUS);
fn gain_of(at: u32, i: u32) -> vec4<f32> { return UNIT + table[at + SCALE_ROW * params.stride4 + i]; }
fn shift_of(at: u32, i: u32) -> vec4<f32> { return table[at + (1u - SCALE_ROW) * params.stride4 + i]; }
//! part ends

var<workgroup> sh_value: array<f32, WG>;
var<workgroup> sh_part: array<vec4<f32>, 4>;

// A thread is past its reads of sh_part before it comes to the next sum's first barrier: none is needed at the end.
fn row_sum(value: f32, lane: u32) -> f32 {
  sh_value[lane] = value;
  workgroupBarrier();
  if (lane < 16u) {
    var part = 0.0;
    for (var i = lane; i < WG; i += 16u) { part += sh_value[i]; }
    sh_part[lane / 4u][lane % 4u] = part;
  }
  workgroupBarrier();
  return dot((sh_part[0] + sh_part[1]) + (sh_part[2] + sh_part[3]), vec4<f32>(1.0));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  if (row >= params.rows) { return; }
  var from_row = row;
  if (GATHER) { from_row = source[row]; }
  let base = from_row * params.stride4;
  let columns = params.stride4;
  let d = f32(params.d);

  var held: array<vec4<f32>, PER>;
  var sum = vec4<f32>();
  for (var j = 0u; j < PER; j++) {
    let i = lane + j * WG;
    held[j] = vec4<f32>();
    if (i < columns) { held[j] = real(i, vec4<f32>(x[base + i])); }
    sum += held[j];
  }
  let mean = row_sum(dot(sum, vec4<f32>(1.0)), lane) / d;
  var squares = vec4<f32>();
  for (var j = 0u; j < PER; j++) {
    // Columns past the row's end hold zero and do not count.
    let counts = vec4<u32>((lane + j * WG) * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.d);
    held[j] -= mean;
    let c = select(vec4<f32>(), held[j], counts);
    squares = fma(c, c, squares);
  }
  let rstd = 1.0 / sqrt(row_sum(dot(squares, vec4<f32>(1.0)), lane) / d + params.eps);

  var shift = 0u;
  if (MODULATE) { shift = row_of[row] * params.stride4; }
  for (var j = 0u; j < PER; j++) {
    let i = lane + j * WG;
    if (i < columns) {
      var v = held[j] * rstd;
      if (AFFINE) { v = v * weight[i] + bias[i]; }
      if (MODULATE) { v = v * gain_of(shift, i) + shift_of(shift, i); }
      y[row * params.stride4 + i] = vec4<Y>(real(i, v));
    }
  }
}
