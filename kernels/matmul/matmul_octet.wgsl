// matmul_octet.wgsl — y = epilogue(x · wᵀ + bias), for CPU adapters with 8 lanes
//
// Shapes    as in matmul_tiled.wgsl
// Work      one subgroup owns ROWS rows × 4 columns a lane, an outer product: a lane holds its columns of w, and 8 lanes hold a
//           vector of one row of x each, which is handed round by subgroupBroadcast at constant lanes, one permutation of a
//           register. On lavapipe a load that may differ from lane to lane is a test, a bounds check, a jump and an insertion for
//           every lane and component, some 60 cycles a vector, whatever the addresses are; so no value is loaded twice by a
//           subgroup: 8 loads of vectors for 512 multiply-adds of all lanes, where matmul_quad has 8 for 256.
// Registers 4·ROWS sums of all lanes, in memory beside the loop's few: read, masked and written once for 4 multiply-adds
// Tile      32 × 32 on 8 lanes. The loop is then 28 KB of code, half of it loads; 40 rows, 2 vectors of columns or two rounds
//           unrolled leave the 32 KB of an instruction cache and lose a third to a half. ROWS = 8 and 16 are for few rows.
// Dispatch  (ceil(N/(4·WG)) · ceil(M/ROWS), folded, 1); neighbours share columns of w
// Cost      2·M·N·K flops; compute bound
// Needs     subgroups of 8 lanes or a multiple, WG lanes · K % 4 == 0, N % 4 == 0 (checked in src/ops/matmul.ts)
// Numerics  f32 accumulation for every storage type, 4 products at a time
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias W = f32;
const ROWS: u32 = 32u;
//! end
override WG: u32 = 8;
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<W>>;
//! part shared/gelu_tanh.wgsl
fn gelu_tanh(v: vec4<f32>) -> vec4<f32> {
  // 0.5 v (1 + tanh(u)) = v · sigmoid(2u). Past ±10 the sigmoid is 0 or 1 to the last bit; bounding v there keeps the cube
  // and the exponential finite.
  let c = clamp(v, vec4<f32>(-10.0), vec4<f32>(10.0));
  return v / (1.0 + exp(-1.5957691216057308 * (c + 0.044715 * c * c * c)));
}
//! part ends
//! part shared/silu.wgsl
fn silu(v: vec4<f32>) -> vec4<f32> { return v / (1.0 + exp(clamp(-v, vec4<f32>(-80.0), vec4<f32>(80.0)))); }
//! part ends
//! part shared/matmul.wgsl
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
//! part ends

//! part shared/octet.wgsl
// Of each of 8 rows that the lanes hold between them, a vector of the lane's own columns.
struct Eight { r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>, r4: vec4<f32>, r5: vec4<f32>, r6: vec4<f32>, r7: vec4<f32> }

// Adds 4 products each: lane i has the vector of row i in `a`, every lane what its own columns multiply it by in `b`.
fn add(c: ptr<function, Eight>, a: vec4<f32>, b: mat4x4<f32>) {
  (*c).r0 += b * subgroupBroadcast(a, 0u);
  (*c).r1 += b * subgroupBroadcast(a, 1u);
  (*c).r2 += b * subgroupBroadcast(a, 2u);
  (*c).r3 += b * subgroupBroadcast(a, 3u);
  (*c).r4 += b * subgroupBroadcast(a, 4u);
  (*c).r5 += b * subgroupBroadcast(a, 5u);
  (*c).r6 += b * subgroupBroadcast(a, 6u);
  (*c).r7 += b * subgroupBroadcast(a, 7u);
}
//! part ends

fn row_of(c: ptr<function, Eight>, row: u32) -> vec4<f32> {
  var v = (*c).r0;
  if (row == 1u) { v = (*c).r1; }
  if (row == 2u) { v = (*c).r2; }
  if (row == 3u) { v = (*c).r3; }
  if (row == 4u) { v = (*c).r4; }
  if (row == 5u) { v = (*c).r5; }
  if (row == 6u) { v = (*c).r6; }
  if (row == 7u) { v = (*c).r7; }
  return v;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32, @builtin(subgroup_invocation_id) lane: u32,
) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles) { return; }
  let tiles_m = (params.m + ROWS - 1u) / ROWS;
  let m0 = (group % tiles_m) * ROWS;
  // The lane's vector of columns; past the end the last again, for every lane has rows to hand round.
  let vector = group / tiles_m * WG + index;
  let held = min(vector, params.n / 4u - 1u);
  let k4 = params.k / 4u;
  let last = params.m - 1u;
  let row = m0 + (lane & 7u);
  let stride = params.x_width / 4u;
  let first_input = params.x_first / 4u;
  let x0 = min(row, last) * stride + first_input;
  let x1 = min(row + 8u, last) * stride + first_input;
  let x2 = min(row + 16u, last) * stride + first_input;
  let x3 = min(row + 24u, last) * stride + first_input;
  var at = held / 4u * params.k * 4u + (held & 3u);
  var c0: Eight;
  var c1: Eight;
  var c2: Eight;
  var c3: Eight;
  for (var kv = 0u; kv < k4; kv++) {
    // All loads first: a load's jumps among the multiply-adds cost a tenth.
    let a0 = vec4<f32>(x[x0 + kv]);
    var a1 = a0;
    var a2 = a0;
    var a3 = a0;
    if (ROWS > 8u) { a1 = vec4<f32>(x[x1 + kv]); }
    if (ROWS > 16u) { a2 = vec4<f32>(x[x2 + kv]); }
    if (ROWS > 24u) { a3 = vec4<f32>(x[x3 + kv]); }
    // With INPUT_ROWS a vector of w has 4 inputs of a column, and a panel 16.
    if (INPUT_ROWS) { at = kv / 4u * params.n_total * 4u + held * 16u + (kv & 3u); }
    var b = mat4x4<f32>(vec4<f32>(w[at]), vec4<f32>(w[at + 4u]), vec4<f32>(w[at + 8u]), vec4<f32>(w[at + 12u]));
    if (INPUT_ROWS) { b = transpose(b); }
    add(&c0, a0, b);
    if (ROWS > 8u) { add(&c1, a1, b); }
    if (ROWS > 16u) { add(&c2, a2, b); }
    if (ROWS > 24u) { add(&c3, a3, b); }
    at += 16u;
  }
  let column = params.n_base / 4u + vector;
  let first = place(column);
  // A loop, for drivers take seconds to compile an epilogue that is unrolled 32 times.
  for (var p = 0u; p < ROWS && m0 + p < params.m; p++) {
    var v = row_of(&c0, p);
    if (ROWS > 8u && p >= 8u) { v = row_of(&c1, p - 8u); }
    if (ROWS > 16u && p >= 16u) { v = row_of(&c2, p - 16u); }
    if (ROWS > 24u && p >= 24u) { v = row_of(&c3, p - 24u); }
    if (vector * 4u < params.n) {
      let to = first + (m0 + p) * (params.y_width / 4u);
      y[to] = vec4<Y>(epilogue(v, m0 + p, column, to));
    }
  }
}
