// shared/matmul.wgsl — what every kernel of matmul has: params, the operands and switches of its epilogue, where a result lies
//
// Expects   `gelu_tanh`, `silu` (shared/) · `x` and `w` at bindings 1 and 2
// Switches  A new one is a const and a line of `epilogue` here, a line of EPILOGUE in src/ops/matmul.ts, and a case of the sweep.

// m: rows of x · k: inputs of this dispatch, from x_first on of the x_width in a row of x · n: columns of this dispatch, from n_base on of
// y's n_total · tiles: workgroups · y_first: column that y begins with · y_width: columns of a row of y, or of a head · y_rows: rows of a
// head · y_row: the first one
struct Params {
  m: u32, n: u32, k: u32, n_base: u32, n_total: u32, tiles: u32,
  y_first: u32, y_width: u32, y_rows: u32, y_row: u32, x_first: u32, x_width: u32,
}
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> gate_row: array<u32>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<Y>>;
//! specialise
alias Y = f32;
// y = x · w in place of x · wᵀ: the rows of w, packed as for the other product, are its inputs.
const INPUT_ROWS: bool = false;
const BIAS: bool = false;
const GELU: bool = false;
const SILU: bool = false;
const RESIDUAL: bool = false;
const ACCUMULATE: bool = false;
const ADDEND: bool = false;
const GATE: bool = false;
//! end

// Where a vector of columns begins in y, whose rows are y_width wide: by row that is N; by head, D, and each head has y_rows.
fn place(column: u32) -> u32 {
  let width = params.y_width / 4u;
  let here = column - params.y_first / 4u;
  return (here / width * params.y_rows + params.y_row) * width + here % width;
}

fn epilogue(sum: vec4<f32>, m: u32, column: u32, at: u32) -> vec4<f32> {
  var v = sum;
  if (BIAS) { v += bias[column]; }
  if (ADDEND) { v += residual[m * (params.n_total / 4u) + column]; }
  if (GELU) { v = gelu_tanh(v); }
  if (SILU) { v = silu(v); }
  if (GATE) { v *= gate[gate_row[m] * (params.n_total / 4u) + column]; }
  if (RESIDUAL) { v += residual[m * (params.n_total / 4u) + column]; }
  if (ACCUMULATE) { v += vec4<f32>(y[at]); }
  return v;
}
