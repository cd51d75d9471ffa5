// matmul_tiled.wgsl — y = epilogue(x · wᵀ + bias), for GPUs
//
// Shapes    x [M, K] row-major · w [N, K] packed in panels of 16 columns, [ceil(N/16)][K][16] · y [M, N]
//           bias [N] · residual [M, N], with ADDEND added before the activation · gate [G, N] with gate_row [M]: y = residual + gate[gate_row[m]] * (x·wᵀ + bias)
// Work      one workgroup per BM × BN tile of y; a thread owns TM rows × 4 columns in registers; tiles of BK inputs
//           are staged in workgroup memory, x transposed so that a thread reads its rows as vectors
// Dispatch  (ceil(N/BN) · ceil(M/BM), folded, 1); neighbours share rows of x
// Cost      2·M·N·K flops; compute bound from M, N of a few hundred
// Needs     K % 4 == 0, N % 4 == 0 (checked in src/ops/matmul.ts)
// Numerics  f32 accumulation for every storage type
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias W = f32;
alias Y = f32;
const BM: u32 = 64u;
const BN: u32 = 64u;
const BK: u32 = 16u;
const TM: u32 = 4u;
const BIAS: bool = false;
const GELU: bool = false;
const SILU: bool = false;
const RESIDUAL: bool = false;
const ADDEND: bool = false;
const GATE: bool = false;
//! end
struct Params { m: u32, n: u32, k: u32, n_base: u32, n_total: u32, tiles: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<W>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> gate_row: array<u32>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<Y>>;

const TX: u32 = BN / 4u;
const WG: u32 = TX * (BM / TM);
// One extra column keeps the transposing stores of a column of x off a single bank.
const A_STRIDE: u32 = BM + 1u;
var<workgroup> sh_x: array<f32, BK * A_STRIDE>;
var<workgroup> sh_w: array<vec4<f32>, BK * TX>;

fn gelu_tanh(v: vec4<f32>) -> vec4<f32> {
  // 0.5 v (1 + tanh(u)) = v · sigmoid(2u). Past ±10 the sigmoid is 0 or 1 to the last bit; bounding v there keeps the cube
  // and the exponential finite.
  let c = clamp(v, vec4<f32>(-10.0), vec4<f32>(10.0));
  return v / (1.0 + exp(-1.5957691216057308 * (c + 0.044715 * c * c * c)));
}

fn epilogue(sum: vec4<f32>, m: u32, column: u32) -> vec4<f32> {
  var v = sum;
  if (BIAS) { v += bias[column]; }
  if (ADDEND) { v += residual[m * (params.n_total / 4u) + column]; }
  if (GELU) { v = gelu_tanh(v); }
  if (SILU) { v = v / (1.0 + exp(clamp(-v, vec4<f32>(-80.0), vec4<f32>(80.0)))); }
  if (GATE) { v *= gate[gate_row[m] * (params.n_total / 4u) + column]; }
  if (RESIDUAL) { v += residual[m * (params.n_total / 4u) + column]; }
  return v;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles) { return; }
  let tiles_n = (params.n + BN - 1u) / BN;
  let m0 = (group / tiles_n) * BM;
  let n0 = (group % tiles_n) * BN;
  let tx = lane % TX;
  let ty = lane / TX;
  let k4 = params.k / 4u;
  let panels = (params.n + 15u) / 16u;

  var acc: array<vec4<f32>, TM>;
  for (var k0 = 0u; k0 < params.k; k0 += BK) {
    for (var i = lane; i < BM * BK / 4u; i += WG) {
      let row = i / (BK / 4u);
      let kv = i % (BK / 4u);
      var v = vec4<f32>();
      if (m0 + row < params.m && k0 / 4u + kv < k4) { v = vec4<f32>(x[(m0 + row) * k4 + k0 / 4u + kv]); }
      sh_x[(kv * 4u) * A_STRIDE + row] = v.x;
      sh_x[(kv * 4u + 1u) * A_STRIDE + row] = v.y;
      sh_x[(kv * 4u + 2u) * A_STRIDE + row] = v.z;
      sh_x[(kv * 4u + 3u) * A_STRIDE + row] = v.w;
    }
    for (var i = lane; i < BK * TX; i += WG) {
      let kk = i / TX;
      let panel = n0 / 16u + (i % TX) / 4u;
      var v = vec4<f32>();
      if (k0 + kk < params.k && panel < panels) { v = vec4<f32>(w[(panel * params.k + k0 + kk) * 4u + i % 4u]); }
      sh_w[i] = v;
    }
    workgroupBarrier();
    for (var kk = 0u; kk < BK; kk++) {
      let b = sh_w[kk * TX + tx];
      for (var i = 0u; i < TM; i++) { acc[i] = fma(vec4<f32>(sh_x[kk * A_STRIDE + ty * TM + i]), b, acc[i]); }
    }
    workgroupBarrier();
  }

  // Columns count from n_base: w may be a window of panels of a larger weight, y always has whole rows.
  let n = n0 + tx * 4u;
  if (n >= params.n) { return; }
  let column = (params.n_base + n) / 4u;
  for (var i = 0u; i < TM; i++) {
    let m = m0 + ty * TM + i;
    if (m < params.m) { y[m * (params.n_total / 4u) + column] = vec4<Y>(epilogue(acc[i], m, column)); }
  }
}
