// layer_norm_gradient_subgroup.wgsl — dx of y = LayerNorm(x) · (1 + scale) + shift, for CPU adapters
//
// Shapes    as in layer_norm_gradient.wgsl
// Work      one subgroup takes `span` rows, one after another, its lanes stride over their vectors; no barrier. A row of x and dy is read
//           once for its moments (4 vectors at a time, merged exactly: mean and variance of x, sum of g, and its product with x
//           around the mean) and once for the result, when it is in the cache
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

// Of vector i of the row at `base`, whose modulation begins at `at` in the table: the gradient with respect to the normalised value.
fn gradient(base: u32, at: u32, i: u32) -> vec4<f32> {
  var g: vec4<f32>;
  if (IN_PLACE) { g = vec4<f32>(dx[base + i]); } else { g = vec4<f32>(dy[base + i]); }
  if (AFFINE) { g *= weight[i]; }
  if (MODULATE) { g *= UNIT + table[at + SCALE_ROW * params.stride4 + i]; }
  return real(i, g);
}
//! part ends

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let begin = (wid.y * groups.x + wid.x) * params.span;
  let end = min(begin + params.span, params.rows);
  let columns = params.stride4;
  let whole = params.d / 4u;
  let d = f32(params.d);
  for (var row = begin; row < end; row++) {
    let base = row * columns;
    var at = 0u;
    if (MODULATE) { at = row_of[row] * columns; }
    // Of what this lane has seen, a column of each vector apart: how many, their mean, squares around it, Σ g, Σ g · (x − mean).
    var n = 0.0;
    var mean = vec4<f32>();
    var m2 = vec4<f32>();
    var sum_g = vec4<f32>();
    var products = vec4<f32>();
    var i = lane;
    for (; i + 3u * WG < whole; i += 4u * WG) {
      let v0 = vec4<f32>(x[base + i]);
      let v1 = vec4<f32>(x[base + i + WG]);
      let v2 = vec4<f32>(x[base + i + 2u * WG]);
      let v3 = vec4<f32>(x[base + i + 3u * WG]);
      let g0 = gradient(base, at, i);
      let g1 = gradient(base, at, i + WG);
      let g2 = gradient(base, at, i + 2u * WG);
      let g3 = gradient(base, at, i + 3u * WG);
      let center = 0.25 * ((v0 + v1) + (v2 + v3));
      let d0 = v0 - center;
      let d1 = v1 - center;
      let d2 = v2 - center;
      let d3 = v3 - center;
      let share = 4.0 / (n + 4.0);
      let delta = center - mean;
      let new_g = (g0 + g1) + (g2 + g3);
      // Both sides' products are taken around the common mean.
      products += ((d0 * g0 + d1 * g1) + (d2 * g2 + d3 * g3)) + delta * ((1.0 - share) * new_g - share * sum_g);
      sum_g += new_g;
      mean += delta * share;
      m2 += ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) + delta * delta * (n * share);
      n += 4.0;
    }
    var counts = vec4<f32>(n);
    // What is left, and of the row's last vector only the columns that count.
    for (; i * 4u < params.d; i += WG) {
      let one = select(vec4<f32>(), vec4<f32>(1.0), vec4<u32>(i * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.d));
      let g = gradient(base, at, i);
      let delta = real(i, vec4<f32>(x[base + i])) - mean;
      let share = one / max(counts + one, vec4<f32>(1.0));
      products += delta * ((1.0 - share) * g - share * sum_g);
      sum_g += g;
      mean += delta * share;
      m2 += delta * delta * share * counts;
      counts += one;
    }
    let all = vec4<f32>(1.0);
    let row_mean = subgroupAdd(dot(counts, mean)) / d;
    let off = mean - row_mean;
    let sums = subgroupAdd(vec3<f32>(dot(m2 + counts * off * off, all), dot(sum_g, all), dot(products + off * sum_g, all))) / d;
    let rstd = 1.0 / sqrt(sums.x + params.eps);
    let slope = sums.z * rstd * rstd;
    for (var i = lane; i < columns; i += WG) {
      let c = vec4<f32>(x[base + i]) - row_mean;
      dx[base + i] = vec4<Y>(real(i, (gradient(base, at, i) - sums.y - c * slope) * rstd));
    }
    if (lane == 0u) { statistics[row] = vec2<f32>(row_mean, rstd); }
  }
}
