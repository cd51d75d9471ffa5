// layer_norm_subgroup.wgsl — y = LayerNorm(x) · (1 + scale) + shift, for CPU adapters
//
// Shapes    as in layer_norm.wgsl
// Work      one subgroup takes `span` rows, its lanes stride over their vectors; no barrier. A load costs a CPU adapter far more than
//           arithmetic: a row is read once for its statistics (4 vectors at a time, merged exactly) and once for the result,
//           when it is in the cache. Up to ROWS rows that share a modulation share a read of weight, bias, scale and shift.
//           With HELD they are made into one gain and one offset for a column, which stay in workgroup memory while the
//           modulation is the same: two reads in place of four. Each lane reads what it wrote itself.
// Dispatch  (ceil(R / span), folded, 1)
// Cost      reads x, writes y; 32 · (HELD + 1) bytes of workgroup memory
// Needs     subgroups of WG lanes, all of one size
// Numerics  f32; variance by exact merges, never a difference of large sums
// After     as layer_norm.wgsl; Chan, Golub & LeVeque 1983
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const ROWS: u32 = 4u;
const HELD: u32 = 0u;
//! end
override WG: u32 = 8;
// span: rows of a workgroup · HELD: vectors of a row, or 0 · ROWS: 4 or 8
struct Params { rows: u32, d: u32, stride4: u32, span: u32, eps: f32 }
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

var<workgroup> sh_gain: array<vec4<f32>, HELD + 1u>;
var<workgroup> sh_offset: array<vec4<f32>, HELD + 1u>;

fn source_of(row: u32) -> u32 {
  if (GATHER) { return source[row] * params.stride4; }
  return row * params.stride4;
}

// Mean and reciprocal deviation of the row of x that starts at `base`.
fn statistics(base: u32, lane: u32) -> vec2<f32> {
  var n = 0.0;
  var mean = vec4<f32>();
  var m2 = vec4<f32>();
  let whole = params.d / 4u;
  var i = lane;
  for (; i + 3u * WG < whole; i += 4u * WG) {
    let v0 = vec4<f32>(x[base + i]);
    let v1 = vec4<f32>(x[base + i + WG]);
    let v2 = vec4<f32>(x[base + i + 2u * WG]);
    let v3 = vec4<f32>(x[base + i + 3u * WG]);
    let center = 0.25 * ((v0 + v1) + (v2 + v3));
    let d0 = v0 - center;
    let d1 = v1 - center;
    let d2 = v2 - center;
    let d3 = v3 - center;
    let share = 4.0 / (n + 4.0);
    let delta = center - mean;
    mean += delta * share;
    m2 += ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) + delta * delta * (n * share);
    n += 4.0;
  }
  var counts = vec4<f32>(n);
  // What is left, and of the row's last vector only the columns that count.
  for (; i * 4u < params.d; i += WG) {
    let one = select(vec4<f32>(), vec4<f32>(1.0), vec4<u32>(i * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.d));
    let delta = real(i, vec4<f32>(x[base + i])) - mean;
    let share = one / max(counts + one, vec4<f32>(1.0));
    mean += delta * share;
    m2 += delta * delta * share * counts;
    counts += one;
  }
  let d = f32(params.d);
  let row_mean = subgroupAdd(dot(counts, mean)) / d;
  let off = mean - row_mean;
  return vec2<f32>(row_mean, 1.0 / sqrt(subgroupAdd(dot(m2 + counts * off * off, vec4<f32>(1.0))) / d + params.eps));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let begin = (wid.y * groups.x + wid.x) * params.span;
  let end = min(begin + params.span, params.rows);
  let columns = params.stride4;
  var held = 0xffffffffu;
  var count = 0u;
  for (var row = begin; row < end; row += count) {
    count = min(ROWS, end - row);
    var shift = 0u;
    if (MODULATE) {
      let modulation = row_of[row];
      for (var r = 1u; r < count; r++) {
        if (row_of[row + r] != modulation) { count = r; }
      }
      shift = modulation * params.stride4;
      if (HELD > 0u && held != modulation) {
        held = modulation;
        for (var i = lane; i < columns; i += WG) {
          let scale = gain_of(shift, i);
          sh_gain[i] = weight[i] * scale;
          sh_offset[i] = bias[i] * scale + shift_of(shift, i);
        }
      }
    }
    // Of rows 0 to 3, and of rows 4 to 7.
    var means = vec4<f32>();
    var rstds = vec4<f32>();
    var more_means = vec4<f32>();
    var more_rstds = vec4<f32>();
    for (var r = 0u; r < count; r++) {
      let s = statistics(source_of(row + r), lane);
      let here = vec4<u32>(r) == vec4<u32>(0u, 1u, 2u, 3u);
      means = select(means, vec4<f32>(s.x), here);
      rstds = select(rstds, vec4<f32>(s.y), here);
      if (ROWS > 4u) {
        let there = vec4<u32>(r) == vec4<u32>(4u, 5u, 6u, 7u);
        more_means = select(more_means, vec4<f32>(s.x), there);
        more_rstds = select(more_rstds, vec4<f32>(s.y), there);
      }
    }
    let base0 = source_of(row);
    let base1 = source_of(min(row + 1u, end - 1u));
    let base2 = source_of(min(row + 2u, end - 1u));
    let base3 = source_of(min(row + 3u, end - 1u));
    let base4 = source_of(min(row + 4u, end - 1u));
    let base5 = source_of(min(row + 5u, end - 1u));
    let base6 = source_of(min(row + 6u, end - 1u));
    let base7 = source_of(min(row + 7u, end - 1u));
    let d4 = params.stride4;
    let out = row * d4;
    for (var i = lane; i < columns; i += WG) {
      var gain = vec4<f32>(1.0);
      var offset = vec4<f32>();
      if (HELD > 0u) {
        gain = sh_gain[i];
        offset = sh_offset[i];
      } else {
        if (AFFINE) {
          gain = weight[i];
          offset = bias[i];
        }
        if (MODULATE) {
          let scale = gain_of(shift, i);
          gain *= scale;
          offset = offset * scale + shift_of(shift, i);
        }
      }
      y[out + i] = vec4<Y>(real(i, (vec4<f32>(x[base0 + i]) - means.x) * rstds.x * gain + offset));
      if (count > 1u) { y[out + d4 + i] = vec4<Y>(real(i, (vec4<f32>(x[base1 + i]) - means.y) * rstds.y * gain + offset)); }
      if (count > 2u) { y[out + 2u * d4 + i] = vec4<Y>(real(i, (vec4<f32>(x[base2 + i]) - means.z) * rstds.z * gain + offset)); }
      if (count > 3u) { y[out + 3u * d4 + i] = vec4<Y>(real(i, (vec4<f32>(x[base3 + i]) - means.w) * rstds.w * gain + offset)); }
      if (ROWS > 4u) {
        if (count > 4u) {
          y[out + 4u * d4 + i] = vec4<Y>(real(i, (vec4<f32>(x[base4 + i]) - more_means.x) * more_rstds.x * gain + offset));
        }
        if (count > 5u) {
          y[out + 5u * d4 + i] = vec4<Y>(real(i, (vec4<f32>(x[base5 + i]) - more_means.y) * more_rstds.y * gain + offset));
        }
        if (count > 6u) {
          y[out + 6u * d4 + i] = vec4<Y>(real(i, (vec4<f32>(x[base6 + i]) - more_means.z) * more_rstds.z * gain + offset));
        }
        if (count > 7u) {
          y[out + 7u * d4 + i] = vec4<Y>(real(i, (vec4<f32>(x[base7 + i]) - more_means.w) * more_rstds.w * gain + offset));
        }
      }
    }
  }
}
