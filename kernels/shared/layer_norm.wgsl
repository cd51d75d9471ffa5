// shared/layer_norm.wgsl — what both kernels of layer_norm have: operands and switches, the modulation of a row
//
// Expects   `Params` with d, the columns that count, and stride4, the vectors of a row

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
