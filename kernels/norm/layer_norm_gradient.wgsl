// layer_norm_gradient.wgsl — dx of y = LayerNorm(x) · (1 + scale) + shift
//
// Shapes    x, dy, dx [R, S] row-major with D ≤ S real columns; with PADDED (D < S) the rest does not count, and is zeros in dx
//           weight [D] (AFFINE) · table [G, S] with row_of [R] (MODULATE) as in layer_norm.wgsl
//           statistics [R]: mean and reciprocal deviation of a row of x, for the sums over rows
// Work      one workgroup a row; each of WG threads holds PER vectors of x and of g = dy · weight · (1 + scale) in registers, so that
//           both are read once. With c = x − mean and m(·) the mean over a row: dx = rstd · (g − m(g) − c · rstd² · m(g · c)).
//           The sums travel in pairs, Σ x with Σ g and Σ c² with Σ g·c: 4 barriers in all, as forward
// Dispatch  (R, folded, 1)
// Cost      reads x and dy once, writes dx once; bandwidth bound
// Registers 8·PER for the rows, some 20 besides: PER ≤ 4 at the widths that models have
// Needs     PER · WG vectors hold a row · WG a multiple of 16
// Numerics  f32; two-pass variance; IN_PLACE: dy lies in dx, and each thread writes only what it alone read
// After     Ba et al. 2016, arXiv:1607.06450
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const WG: u32 = 64u;
const PER: u32 = 4u;
//! end
struct Params { rows: u32, d: u32, stride4: u32, eps: f32 }
//! part shared/layer_norm_gradient.wgsl
//! specialise
alias X = f32;
alias G = f32;
alias Y = f32;
const AFFINE: bool = false;
const MODULATE: bool = false;
const PADDED: bool = false;
const ONE_PLUS: bool = true;
const SCALE_FIRST: bool = false;
const IN_PLACE: bool = false;
//! end
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> row_of: array<u32>;
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<Y>>;
@group(0) @binding(7) var<storage, read_write> statistics: array<vec2<f32>>;

// Of vector i of a row, the columns that count.
fn real(i: u32, v: vec4<f32>) -> vec4<f32> {
  if (!PADDED) { return v; }
  return select(vec4<f32>(), v, vec4<u32>(i * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.d));
}

const SCALE_ROW: u32 = select(1u, 0u, SCALE_FIRST);
const UNIT: f32 = select(0.0, 1.0, ONE_PLUS);

// Of vector i of a modulation that begins at `at` in the table: what the normalised value is multiplied by.
fn gain_of(at: u32, i: u32) -> vec4<f32> {
  var gain = vec4<f32>(1.0);
  if (AFFINE) { gain = weight[i]; }
  if (MODULATE) { gain *= UNIT + table[at + SCALE_ROW * params.stride4 + i]; }
  return gain;
}

fn load_dy(at: u32) -> vec4<f32> {
  if (IN_PLACE) { return vec4<f32>(dx[at]); }
  return vec4<f32>(dy[at]);
}
//! part ends

var<workgroup> sh_value: array<vec2<f32>, WG>;
var<workgroup> sh_part: array<vec4<f32>, 8>;

// A thread is past its reads of sh_part before it comes to the next sum's first barrier: none is needed at the end.
fn row_sum(value: vec2<f32>, lane: u32) -> vec2<f32> {
  sh_value[lane] = value;
  workgroupBarrier();
  if (lane < 16u) {
    var part = vec2<f32>();
    for (var i = lane; i < WG; i += 16u) { part += sh_value[i]; }
    sh_part[lane / 2u][2u * (lane % 2u)] = part.x;
    sh_part[lane / 2u][2u * (lane % 2u) + 1u] = part.y;
  }
  workgroupBarrier();
  let all = ((sh_part[0] + sh_part[1]) + (sh_part[2] + sh_part[3])) + ((sh_part[4] + sh_part[5]) + (sh_part[6] + sh_part[7]));
  return all.xy + all.zw;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  if (row >= params.rows) { return; }
  let columns = params.stride4;
  let base = row * columns;
  let d = f32(params.d);
  let one = vec4<f32>(1.0);
  var at = 0u;
  if (MODULATE) { at = row_of[row] * columns; }

  var c: array<vec4<f32>, PER>;
  var g: array<vec4<f32>, PER>;
  var sum_x = vec4<f32>();
  var sum_g = vec4<f32>();
  for (var j = 0u; j < PER; j++) {
    let i = lane + j * WG;
    c[j] = vec4<f32>();
    g[j] = vec4<f32>();
    if (i < columns) {
      c[j] = real(i, vec4<f32>(x[base + i]));
      g[j] = real(i, load_dy(base + i) * gain_of(at, i));
    }
    sum_x += c[j];
    sum_g += g[j];
  }
  let means = row_sum(vec2<f32>(dot(sum_x, one), dot(sum_g, one)), lane) / d;
  var squares = vec4<f32>();
  var products = vec4<f32>();
  for (var j = 0u; j < PER; j++) {
    // Columns past the row's end hold zero and do not count; g is zero there too.
    let counts = vec4<u32>((lane + j * WG) * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.d);
    c[j] = select(vec4<f32>(), c[j] - means.x, counts);
    squares = fma(c[j], c[j], squares);
    products = fma(g[j], c[j], products);
  }
  let moments = row_sum(vec2<f32>(dot(squares, one), dot(products, one)), lane) / d;
  let rstd = 1.0 / sqrt(moments.x + params.eps);
  let slope = moments.y * rstd * rstd;
  for (var j = 0u; j < PER; j++) {
    let i = lane + j * WG;
    if (i < columns) { dx[base + i] = vec4<Y>(real(i, (g[j] - means.y - c[j] * slope) * rstd)); }
  }
  if (lane == 0u) { statistics[row] = vec2<f32>(means.x, rstd); }
}
