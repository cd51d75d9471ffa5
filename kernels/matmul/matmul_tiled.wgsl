// matmul_tiled.wgsl — y = epilogue(x · wᵀ + bias), for GPUs
//
// Shapes    x [M, K] row-major · w [N, K] packed in panels of 16 columns, [ceil(N/16)][K][16]
//           with INPUT_ROWS y = x · w, w [K, N] as the other product reads it, [ceil(K/16)][N][16]
//           y [M, N], or by head [N/D, M, D] · bias [N] · residual [M, N], with ADDEND added before the activation, with ACCUMULATE what
//           y holds · gate [G, N] with gate_row [M]: y = residual + gate[gate_row[m]] * (x·wᵀ + bias)
// Work      one workgroup per BM × BN tile of y; a thread owns TM rows × TN vectors of 4 columns in registers, rows TY and vectors TX
//           apart. Tiles of BK inputs are staged in workgroup memory; the next tile is fetched into registers while this one is used.
// Dispatch  (ceil(N/BN) · ceil(M/BM), folded, 1); neighbours share rows of x
// Cost      2·M·N·K flops; BM·BN/(2·(BM + BN)) = 32 flops a byte of memory at 128 × 128 in f32; compute bound
// Registers 4·TM·TN sums, 4·TM of x, 4·TN of w, the fetched tile: 120 on RDNA 3 at 8 × 2; with 19 KB of workgroup memory
//           12 waves a SIMD
// Banks     A row of x in workgroup memory has one vector more: the rows that a wave reads at once, neighbours, begin 20 words apart.
//           w is read in the order of lanes; its rows have four vectors more, so that eight lanes, which store two rows of one panel at
//           a time, meet all 32 banks. 12 loads of 16 bytes feed 256 multiply-adds of a thread at 8 × 2.
// Needs     K % BK == 0, N % 4 == 0 (checked in src/ops/matmul.ts)
// Numerics  f32 accumulation for every storage type
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias W = f32;
//! end
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

//! part shared/register_tile.wgsl
//! specialise
const BM: u32 = 64u;
const BN: u32 = 64u;
const BK: u32 = 16u;
const TM: u32 = 4u;
const TN: u32 = 1u;
//! end
const TX: u32 = BN / (4u * TN);
const TY: u32 = BM / TM;
const WG: u32 = TX * TY;
const KV: u32 = BK / 4u;
const X_STRIDE: u32 = KV + 1u;
const W_STRIDE: u32 = BN / 4u + 4u;
const W_COUNT: u32 = BK * BN / 4u;
const W_LOADS: u32 = (W_COUNT + WG - 1u) / WG;
var<workgroup> sh_x: array<vec4<f32>, BM * X_STRIDE>;
var<workgroup> sh_w: array<vec4<f32>, BK * W_STRIDE>;
//! part ends
const X_COUNT: u32 = BM * KV;
const X_LOADS: u32 = (X_COUNT + WG - 1u) / WG;

// With INPUT_ROWS the tile of w lies by column, KV vectors of 4 inputs each: first the first column of every vector of y. The vectors of a
// column change places so that eight neighbours meet all 32 banks.
fn place_of(column: u32, k: u32) -> u32 {
  let v = column / 4u;
  return (column % 4u * (BN / 4u) + v) * KV + (k ^ (v % TX / 2u)) % KV;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  //! part shared/tile_place.wgsl
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles) { return; }
  let tiles_n = (params.n + BN - 1u) / BN;
  let m0 = (group / tiles_n) * BM;
  let n0 = (group % tiles_n) * BN;
  let tx = lane % TX;
  let ty = lane / TX;
  //! part ends

  // What this thread fetches of the first tile. Rows and panels past the end are others once more; their results are not stored.
  var x_at: array<u32, X_LOADS>;
  var w_at: array<u32, W_LOADS>;
  var x_next: array<vec4<X>, X_LOADS>;
  var w_next: array<vec4<W>, W_LOADS>;
  for (var i = 0u; i < X_LOADS; i++) {
    let at = lane + i * WG;
    x_at[i] = min(m0 + at / KV, params.m - 1u) * (params.x_width / 4u) + params.x_first / 4u + at % KV;
    x_next[i] = x[x_at[i]];
  }
  for (var i = 0u; i < W_LOADS; i++) {
    let at = lane + i * WG;
    w_at[i] = min(n0 / 16u + at / (4u * BK), (params.n + 15u) / 16u - 1u) * (params.k * 4u) + at % (4u * BK);
    if (INPUT_ROWS) { w_at[i] = min(n0 + at / KV, params.n - 1u) * 4u + at % KV; }
    w_next[i] = w[w_at[i]];
  }

  var acc: array<array<vec4<f32>, TN>, TM>;
  for (var k0 = 0u; k0 < params.k; k0 += BK) {
    for (var i = 0u; i < X_LOADS; i++) {
      let at = lane + i * WG;
      if (X_COUNT % WG == 0u || at < X_COUNT) { sh_x[at / KV * X_STRIDE + at % KV] = vec4<f32>(x_next[i]); }
    }
    for (var i = 0u; i < W_LOADS; i++) {
      let at = lane + i * WG;
      var to = at / 4u % BK * W_STRIDE + at / (4u * BK) * 4u + at % 4u;
      if (INPUT_ROWS) { to = place_of(at / KV, at % KV); }
      if (W_COUNT % WG == 0u || at < W_COUNT) { sh_w[to] = vec4<f32>(w_next[i]); }
    }
    workgroupBarrier();
    // The last tile is fetched twice, which is cheaper than a branch.
    let next = min(k0 + BK, params.k - BK);
    for (var i = 0u; i < X_LOADS; i++) { x_next[i] = x[x_at[i] + next / 4u]; }
    var w_step = next * 4u;
    if (INPUT_ROWS) { w_step = next / 16u * params.n_total * 4u + next / 4u % 4u; }
    for (var i = 0u; i < W_LOADS; i++) { w_next[i] = w[w_at[i] + w_step]; }
    if (INPUT_ROWS) {
      for (var k = 0u; k < KV; k++) {
        var a: array<vec4<f32>, TM>;
        for (var i = 0u; i < TM; i++) { a[i] = sh_x[(ty + i * TY) * X_STRIDE + k]; }
        // The remainder changes nothing; by it compilers see that no index is out of bounds.
        let turned = (k ^ (tx / 2u)) % KV;
        for (var j = 0u; j < TN; j++) {
          let v = (j * TX + tx) * KV + turned;
          let b = transpose(mat4x4<f32>(sh_w[v], sh_w[v + BN / 4u * KV], sh_w[v + BN / 2u * KV], sh_w[v + BN / 4u * 3u * KV]));
          for (var i = 0u; i < TM; i++) {
            for (var c = 0u; c < 4u; c++) { acc[i][j] = fma(vec4<f32>(a[i][c]), b[c], acc[i][j]); }
          }
        }
      }
    } else {
      //! part shared/register_tile_multiply.wgsl
      for (var k = 0u; k < KV; k++) {
        var a: array<vec4<f32>, TM>;
        for (var i = 0u; i < TM; i++) { a[i] = sh_x[(ty + i * TY) * X_STRIDE + k]; }
        for (var j = 0u; j < TN; j++) {
          for (var c = 0u; c < 4u; c++) {
            let b = sh_w[(k * 4u + c) * W_STRIDE + j * TX + tx];
            for (var i = 0u; i < TM; i++) { acc[i][j] = fma(vec4<f32>(a[i][c]), b, acc[i][j]); }
          }
        }
      }
      //! part ends
    }
    workgroupBarrier();
  }

  // Columns count from n_base: w may be a window of panels of a larger weight; y always has whole rows, or whole heads.
  for (var i = 0u; i < TM; i++) {
    let m = m0 + ty + i * TY;
    for (var j = 0u; j < TN; j++) {
      let n = n0 + (j * TX + tx) * 4u;
      let column = (params.n_base + n) / 4u;
      if (m < params.m && n < params.n) {
        let to = place(column) + m * (params.y_width / 4u);
        y[to] = vec4<Y>(epilogue(acc[i][j], m, column, to));
      }
    }
  }
}
