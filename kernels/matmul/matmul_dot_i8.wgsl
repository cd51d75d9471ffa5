// matmul_dot_i8.wgsl — y = epilogue(x · wᵀ + bias) of 8-bit integers, for GPUs with an integer dot product
//
// Shapes    x, w: panels of 16 rows of x [M, K], and of w [N, K], [ceil(rows/16)][K/32] blocks (kernels/matmul/quantize_panels.wgsl,
//           kernels/weights/unpack_q8.wgsl). A block has 36 vectors: words [8][16], each 4 inputs of a row as bytes, and the f32
//           scales [16] of its rows.
//           y [M, N], or by head [N/D, M, D] · bias [N] · residual [M, N], with ADDEND added before the activation, with ACCUMULATE what
//           y holds · gate [G, N] with gate_row [M]: y = residual + gate[gate_row[m]] * (x·wᵀ + bias)
// Work      one workgroup per BM × BN tile of y; a thread owns TM vectors of 4 rows × TN vectors of 4 columns, vectors of rows TY and of
//           columns TX apart. Blocks of both are staged in workgroup memory as they lie; the next ones are fetched into registers while
//           these are used.
// Dispatch  (ceil(N/BN) · ceil(M/BM), folded, 1); neighbours share rows of x
// Cost      2·M·N·K integer operations, four multiply-adds an instruction; of 32 inputs 8 dot products and 3 operations in f32 a value of y
// Registers 16·TM·TN sums in f32 and as many in i32: 128 at 2 × 2
// Banks     A block of a panel is 144 words: neighbouring panels begin 16 banks apart, so eight lanes that read vectors of two panels
//           meet all 32 banks. Lanes store what they fetched in the order that it lies in.
// Needs     K % 32 == 0, N % 4 == 0 (checked in src/ops/matmul.ts), the language feature packed_4x8_integer_dot_product
// Numerics  Sums of 32 products are exact; they are scaled and added in f32. x has been rounded to 8 bits before: of 32 neighbours in a
//           row the largest is 127, which takes up to 1 % off the product (docs/tuning.md)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
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

//! specialise
const BM: u32 = 64u;
const BN: u32 = 64u;
const TM: u32 = 1u;
const TN: u32 = 1u;
//! end
const TX: u32 = BN / (4u * TN);
const TY: u32 = BM / (4u * TM);
const WG: u32 = TX * TY;
// Vectors of a panel's block
const BLOCK: u32 = 36u;
const X_COUNT: u32 = BM / 16u * BLOCK;
const W_COUNT: u32 = BN / 16u * BLOCK;
const X_LOADS: u32 = (X_COUNT + WG - 1u) / WG;
const W_LOADS: u32 = (W_COUNT + WG - 1u) / WG;
var<workgroup> sh_x: array<vec4<u32>, X_COUNT>;
var<workgroup> sh_w: array<vec4<u32>, W_COUNT>;

fn dots(a: u32, b: vec4<u32>) -> vec4<i32> {
  return vec4<i32>(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
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
  let blocks = params.k / 32u;

  // What this thread fetches of the first blocks. Panels past the end are the last once more; their results are not stored.
  var x_at: array<u32, X_LOADS>;
  var w_at: array<u32, W_LOADS>;
  var x_next: array<vec4<u32>, X_LOADS>;
  var w_next: array<vec4<u32>, W_LOADS>;
  for (var i = 0u; i < X_LOADS; i++) {
    let at = lane + i * WG;
    x_at[i] = min(m0 / 16u + at / BLOCK, (params.m + 15u) / 16u - 1u) * (blocks * BLOCK) + at % BLOCK;
    x_next[i] = x[x_at[i]];
  }
  for (var i = 0u; i < W_LOADS; i++) {
    let at = lane + i * WG;
    w_at[i] = min(n0 / 16u + at / BLOCK, (params.n + 15u) / 16u - 1u) * (blocks * BLOCK) + at % BLOCK;
    w_next[i] = w[w_at[i]];
  }

  var acc: array<array<vec4<f32>, TN>, 4u * TM>;
  for (var block = 0u; block < blocks; block++) {
    for (var i = 0u; i < X_LOADS; i++) {
      let at = lane + i * WG;
      if (X_COUNT % WG == 0u || at < X_COUNT) { sh_x[at] = x_next[i]; }
    }
    for (var i = 0u; i < W_LOADS; i++) {
      let at = lane + i * WG;
      if (W_COUNT % WG == 0u || at < W_COUNT) { sh_w[at] = w_next[i]; }
    }
    workgroupBarrier();
    // The last blocks are fetched twice, which is cheaper than a branch.
    let next = min(block + 1u, blocks - 1u) * BLOCK;
    for (var i = 0u; i < X_LOADS; i++) { x_next[i] = x[x_at[i] + next]; }
    for (var i = 0u; i < W_LOADS; i++) { w_next[i] = w[w_at[i] + next]; }

    // Written out: without it lavapipe keeps the sums of the round before.
    var sums = array<array<vec4<i32>, TN>, 4u * TM>();
    for (var k = 0u; k < 8u; k++) {
      var a: array<vec4<u32>, TM>;
      for (var i = 0u; i < TM; i++) {
        let v = ty + i * TY;
        a[i] = sh_x[v / 4u * BLOCK + k * 4u + v % 4u];
      }
      for (var j = 0u; j < TN; j++) {
        let v = tx + j * TX;
        let b = sh_w[v / 4u * BLOCK + k * 4u + v % 4u];
        for (var i = 0u; i < TM; i++) {
          for (var r = 0u; r < 4u; r++) { sums[4u * i + r][j] += dots(a[i][r], b); }
        }
      }
    }
    for (var j = 0u; j < TN; j++) {
      let v = tx + j * TX;
      let w_scale = bitcast<vec4<f32>>(sh_w[v / 4u * BLOCK + 32u + v % 4u]);
      for (var i = 0u; i < TM; i++) {
        let u = ty + i * TY;
        let x_scale = bitcast<vec4<f32>>(sh_x[u / 4u * BLOCK + 32u + u % 4u]);
        for (var r = 0u; r < 4u; r++) {
          acc[4u * i + r][j] = fma(vec4<f32>(sums[4u * i + r][j]) * w_scale, vec4<f32>(x_scale[r]), acc[4u * i + r][j]);
        }
      }
    }
    workgroupBarrier();
  }

  // Columns count from n_base: w may be a window of panels of a larger weight; y always has whole rows, or whole heads.
  for (var i = 0u; i < TM; i++) {
    for (var r = 0u; r < 4u; r++) {
      let m = m0 + (ty + i * TY) * 4u + r;
      for (var j = 0u; j < TN; j++) {
        let n = n0 + (j * TX + tx) * 4u;
        let column = (params.n_base + n) / 4u;
        if (m < params.m && n < params.n) {
          let to = place(column) + m * (params.y_width / 4u);
          y[to] = vec4<Y>(epilogue(acc[4u * i + r][j], m, column, to));
        }
      }
    }
  }
}
