// shared/layer_norm_gradient.wgsl — what both kernels of layer_norm_gradient have: operands, switches, what a column is multiplied by
//
// Expects   `params` (d, stride4)

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
