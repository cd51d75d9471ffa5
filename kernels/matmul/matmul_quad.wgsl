// matmul_quad.wgsl — y = epilogue(x · wᵀ + bias), for CPU adapters with 4 lanes
//
// Shapes    as in matmul_tiled.wgsl
// Work      one lane owns ROWS rows × one panel of 16 columns in 4·ROWS named vectors; no workgroup memory, no barrier. On a CPU
//           a load that may differ from lane to lane is one scalar load a lane and component, while multiply-adds are cheap.
//           So the four lanes of a quad load 4 columns of w each, for 4 inputs, and swap them: every lane multiplies its rows by
//           its own, and by those of the lanes whose number differs in the lowest bit, in the second, in both.
// Registers SwiftShader has 16 of 4 floats and keeps every named vector in memory, masked at every write; so 8 inputs are
//           summed before a sum is read and written. Unrolled by hand: an array that a loop indexes is 20 times slower.
// Tile      32 × 16 on 4 lanes, 24 loads of vectors for 1,024 multiply-adds of all lanes. 12 rows a lane are no faster.
//           ROWS = 2 is for few rows.
// Dispatch  (ceil(N/16) · ceil(M/(ROWS·WG)), folded, 1); neighbours share a panel of w
// Cost      2·M·N·K flops; compute bound
// Needs     subgroups (of 4 lanes or a multiple) · K % 4 == 0, N % 4 == 0 (checked in src/ops/matmul.ts)
// Numerics  f32 accumulation for every storage type, 8 products at a time
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias W = f32;
const ROWS: u32 = 8u;
//! end
override WG: u32 = 4;
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

//! part shared/quad.wgsl
// A row of the tile: the lane's own columns, and those that it got by the swaps.
struct Row { own: vec4<f32>, x: vec4<f32>, y: vec4<f32>, xy: vec4<f32> }
// Weights of 4 inputs × 4 columns, for each of the four.
struct Weights { own: mat4x4<f32>, x: mat4x4<f32>, y: mat4x4<f32>, xy: mat4x4<f32> }

// m: of each of the lane's columns, 4 inputs.
fn swapped(m: mat4x4<f32>) -> Weights {
  return Weights(
    m,
    mat4x4<f32>(quadSwapX(m[0]), quadSwapX(m[1]), quadSwapX(m[2]), quadSwapX(m[3])),
    mat4x4<f32>(quadSwapY(m[0]), quadSwapY(m[1]), quadSwapY(m[2]), quadSwapY(m[3])),
    mat4x4<f32>(quadSwapDiagonal(m[0]), quadSwapDiagonal(m[1]), quadSwapDiagonal(m[2]), quadSwapDiagonal(m[3])));
}

// Adds 8 inputs of one row.
fn add(c: ptr<function, Row>, a: vec4<f32>, m: Weights, b: vec4<f32>, n: Weights) {
  (*c).own += a * m.own + b * n.own;
  (*c).x += a * m.x + b * n.x;
  (*c).y += a * m.y + b * n.y;
  (*c).xy += a * m.xy + b * n.xy;
}
//! part ends

fn weights(at: u32) -> Weights {
  var m = mat4x4<f32>(vec4<f32>(w[at]), vec4<f32>(w[at + 4u]), vec4<f32>(w[at + 8u]), vec4<f32>(w[at + 12u]));
  // With INPUT_ROWS a vector of w has 4 inputs of a column, as it must be.
  if (!INPUT_ROWS) { m = transpose(m); }
  return swapped(m);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles) { return; }
  let tiles_m = (params.m + ROWS * WG - 1u) / (ROWS * WG);
  let panel = group / tiles_m;
  let m0 = ((group % tiles_m) * WG + lane) * ROWS;
  let k4 = params.k / 4u;
  let last = params.m - 1u;
  let stride = params.x_width / 4u;
  let first_input = params.x_first / 4u;
  let x0 = min(m0 + 0u, last) * stride + first_input;
  let x1 = min(m0 + 1u, last) * stride + first_input;
  let x2 = min(m0 + 2u, last) * stride + first_input;
  let x3 = min(m0 + 3u, last) * stride + first_input;
  let x4 = min(m0 + 4u, last) * stride + first_input;
  let x5 = min(m0 + 5u, last) * stride + first_input;
  let x6 = min(m0 + 6u, last) * stride + first_input;
  let x7 = min(m0 + 7u, last) * stride + first_input;
  var c0: Row;
  var c1: Row;
  var c2: Row;
  var c3: Row;
  var c4: Row;
  var c5: Row;
  var c6: Row;
  var c7: Row;
  var at = panel * params.k * 4u + (lane & 3u);
  // With INPUT_ROWS the lane's columns; past the end the last again.
  let columns = min(panel * 4u + (lane & 3u), params.n / 4u - 1u) * 16u;
  for (var kv = 0u; kv < k4; kv += 2u) {
    // Of an odd number of vectors the last comes alone.
    let more = kv + 1u < k4;
    let next = select(kv, kv + 1u, more);
    let a0 = vec4<f32>(x[x0 + kv]); let b0 = select(vec4<f32>(), vec4<f32>(x[x0 + next]), more);
    let a1 = vec4<f32>(x[x1 + kv]); let b1 = select(vec4<f32>(), vec4<f32>(x[x1 + next]), more);
    let a2 = vec4<f32>(x[x2 + kv]); let b2 = select(vec4<f32>(), vec4<f32>(x[x2 + next]), more);
    let a3 = vec4<f32>(x[x3 + kv]); let b3 = select(vec4<f32>(), vec4<f32>(x[x3 + next]), more);
    let a4 = vec4<f32>(x[x4 + kv]); let b4 = select(vec4<f32>(), vec4<f32>(x[x4 + next]), more);
    let a5 = vec4<f32>(x[x5 + kv]); let b5 = select(vec4<f32>(), vec4<f32>(x[x5 + next]), more);
    let a6 = vec4<f32>(x[x6 + kv]); let b6 = select(vec4<f32>(), vec4<f32>(x[x6 + next]), more);
    let a7 = vec4<f32>(x[x7 + kv]); let b7 = select(vec4<f32>(), vec4<f32>(x[x7 + next]), more);
    var after = at + select(0u, 16u, more);
    if (INPUT_ROWS) {
      at = kv / 4u * params.n_total * 4u + columns + (kv & 3u);
      after = next / 4u * params.n_total * 4u + columns + (next & 3u);
    }
    let m = weights(at);
    let n = weights(after);
    add(&c0, a0, m, b0, n);
    add(&c1, a1, m, b1, n);
    if (ROWS > 2u) {
      add(&c2, a2, m, b2, n);
      add(&c3, a3, m, b3, n);
      add(&c4, a4, m, b4, n);
      add(&c5, a5, m, b5, n);
      add(&c6, a6, m, b6, n);
      add(&c7, a7, m, b7, n);
    }
    at += 32u;
  }
  // A loop, for drivers take seconds to compile an epilogue that is unrolled 32 times.
  for (var p = 0u; p < ROWS && m0 + p < params.m; p++) {
    if (p == 1u) { c0 = c1; }
    if (p == 2u) { c0 = c2; }
    if (p == 3u) { c0 = c3; }
    if (p == 4u) { c0 = c4; }
    if (p == 5u) { c0 = c5; }
    if (p == 6u) { c0 = c6; }
    if (p == 7u) { c0 = c7; }
    for (var q = 0u; q < 4u; q++) {
      var v = c0.own;
      if (q == 1u) { v = c0.x; }
      if (q == 2u) { v = c0.y; }
      if (q == 3u) { v = c0.xy; }
      let n = panel * 16u + ((lane & 3u) ^ q) * 4u;
      if (n < params.n) {
        let column = (params.n_base + n) / 4u;
        let to = place(column) + (m0 + p) * (params.y_width / 4u);
        y[to] = vec4<Y>(epilogue(v, m0 + p, column, to));
      }
    }
  }
}
