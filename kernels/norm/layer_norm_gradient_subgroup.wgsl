// layer_norm_gradient_subgroup.wgsl — dx of y = LayerNorm(x) · (1 + scale) + shift, for CPU adapters
//
// Shapes    as in layer_norm_gradient.wgsl
// Work      one subgroup takes `span` rows, its lanes stride over their vectors; no barrier. A row of x and dy is read once for its moments
//           (merged exactly: mean and variance of x, sum of g, and its products with x around the mean) and once for the result, when
//           it is in the cache. Four rows that share a modulation share the reads of weight and scale
// Dispatch  (ceil(R / span), folded, 1)
// Cost      reads x and dy, writes dx
// Needs     subgroups of WG lanes, all of one size
// Numerics  f32; variance and products by exact merges, never a difference of large sums; IN_PLACE: dy lies in dx
// After     as layer_norm_gradient.wgsl; Chan, Golub & LeVeque 1983
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
override WG: u32 = 8;
// span: rows of a workgroup
struct Params { rows: u32, d: u32, stride4: u32, span: u32, eps: f32 }
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

// Of what a lane has seen of a row, each column of its vectors apart: mean of x, squares around it, Σ g, Σ g · (x − mean).
struct Moments { mean: vec4<f32>, m2: vec4<f32>, sum_g: vec4<f32>, products: vec4<f32> }

// One vector more of x and of g, of whose columns `one` count; share = 1 / n where it is the lane's n-th.
fn more(before: Moments, v: vec4<f32>, g: vec4<f32>, one: vec4<f32>, share: f32) -> Moments {
  let delta = (v - before.mean) * one;
  let rest = 1.0 - share;
  // Both sides' products are taken around the common mean.
  return Moments(
    fma(delta, vec4<f32>(share), before.mean),
    fma(delta * delta, vec4<f32>(rest), before.m2),
    before.sum_g + g,
    fma(delta, rest * g - share * before.sum_g, before.products));
}

// Of a row: mean of x, its reciprocal deviation, mean of g, and what x − mean is multiplied by. counts: of a lane's columns.
fn whole_row(m: Moments, counts: vec4<f32>) -> vec4<f32> {
  let d = f32(params.d);
  let all = vec4<f32>(1.0);
  let mean = subgroupAdd(dot(counts, m.mean)) / d;
  let off = m.mean - mean;
  let sums = subgroupAdd(vec3<f32>(dot(m.m2 + counts * off * off, all), dot(m.sum_g, all), dot(m.products + off * m.sum_g, all))) / d;
  let rstd = 1.0 / sqrt(sums.x + params.eps);
  return vec4<f32>(mean, rstd, sums.y, sums.z * rstd * rstd);
}

fn result(i: u32, at: u32, gain: vec4<f32>, s: vec4<f32>) -> vec4<Y> {
  return vec4<Y>(real(i, (load_dy(at) * gain - s.z - (vec4<f32>(x[at]) - s.x) * s.w) * s.y));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let begin = (wid.y * groups.x + wid.x) * params.span;
  let end = min(begin + params.span, params.rows);
  let columns = params.stride4;
  var count = 0u;
  for (var row = begin; row < end; row += count) {
    count = min(4u, end - row);
    var at = 0u;
    if (MODULATE) {
      let modulation = row_of[row];
      for (var r = 1u; r < count; r++) {
        if (row_of[row + r] != modulation) { count = r; }
      }
      at = modulation * columns;
    }
    let base0 = row * columns;
    let base1 = (row + min(1u, count - 1u)) * columns;
    let base2 = (row + min(2u, count - 1u)) * columns;
    let base3 = (row + min(3u, count - 1u)) * columns;
    var m0 = Moments();
    var m1 = Moments();
    var m2 = Moments();
    var m3 = Moments();
    var n = 0.0;
    var one = vec4<f32>(1.0);
    for (var i = lane; i * 4u < params.d; i += WG) {
      if (PADDED) { one = select(vec4<f32>(), vec4<f32>(1.0), vec4<u32>(i * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.d)); }
      n += 1.0;
      let share = 1.0 / n;
      let gain = gain_of(at, i);
      m0 = more(m0, real(i, vec4<f32>(x[base0 + i])), real(i, load_dy(base0 + i) * gain), one, share);
      m1 = more(m1, real(i, vec4<f32>(x[base1 + i])), real(i, load_dy(base1 + i) * gain), one, share);
      m2 = more(m2, real(i, vec4<f32>(x[base2 + i])), real(i, load_dy(base2 + i) * gain), one, share);
      m3 = more(m3, real(i, vec4<f32>(x[base3 + i])), real(i, load_dy(base3 + i) * gain), one, share);
    }
    // Of a lane's last vector some columns may not count.
    let counts = vec4<f32>(n) - (1.0 - one);
    let s0 = whole_row(m0, counts);
    let s1 = whole_row(m1, counts);
    let s2 = whole_row(m2, counts);
    let s3 = whole_row(m3, counts);
    for (var i = lane; i < columns; i += WG) {
      let gain = gain_of(at, i);
      dx[base0 + i] = result(i, base0 + i, gain, s0);
      if (count > 1u) { dx[base1 + i] = result(i, base1 + i, gain, s1); }
      if (count > 2u) { dx[base2 + i] = result(i, base2 + i, gain, s2); }
      if (count > 3u) { dx[base3 + i] = result(i, base3 + i, gain, s3); }
    }
    if (lane == 0u) {
      statistics[row] = s0.xy;
      if (count > 1u) { statistics[row + 1u] = s1.xy; }
      if (count > 2u) { statistics[row + 2u] = s2.xy; }
      if (count > 3u) { statistics[row + 3u] = s3.xy; }
    }
  }
}
