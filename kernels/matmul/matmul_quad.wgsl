// matmul_quad.wgsl — y = epilogue(x · wᵀ + bias), for CPU adapters
//
// Shapes    as in matmul_tiled.wgsl
// Work      one lane owns 4 rows × one panel of 16 columns in 16 named vectors; no workgroup memory, no barrier. On a CPU
//           a load that may differ from lane to lane is one scalar load a lane and component, while multiply-adds are cheap.
//           So the four lanes of a quad load different vectors of w and hand them round with quadBroadcast.
//           Unrolled by hand: SwiftShader keeps an array that a loop indexes in memory, 20 times slower.
// Dispatch  (ceil(N/16) · ceil(M/(4·WG)), folded, 1); neighbours share a panel of w
// Cost      2·M·N·K flops; compute bound
// Needs     subgroups (of 4 lanes or a multiple) · K % 4 == 0, N % 4 == 0 (checked in src/ops/matmul.ts)
// Numerics  f32 accumulation for every storage type
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias W = f32;
alias Y = f32;
const BIAS: bool = false;
const GELU: bool = false;
const SILU: bool = false;
const RESIDUAL: bool = false;
const ADDEND: bool = false;
const GATE: bool = false;
//! end
override WG: u32 = 8;
struct Params { m: u32, n: u32, k: u32, n_base: u32, n_total: u32, tiles: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> w: array<vec4<W>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> gate_row: array<u32>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<Y>>;



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

fn store(m: u32, panel: u32, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>) {
  if (m >= params.m) { return; }
  let n = panel * 16u;
  let column = (params.n_base + n) / 4u;
  let at = m * (params.n_total / 4u) + column;
  y[at] = vec4<Y>(epilogue(v0, m, column));
  if (n + 4u < params.n) { y[at + 1u] = vec4<Y>(epilogue(v1, m, column + 1u)); }
  if (n + 8u < params.n) { y[at + 2u] = vec4<Y>(epilogue(v2, m, column + 2u)); }
  if (n + 12u < params.n) { y[at + 3u] = vec4<Y>(epilogue(v3, m, column + 3u)); }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles) { return; }
  let tiles_m = (params.m + 4u * WG - 1u) / (4u * WG);
  let panel = group / tiles_m;
  let m0 = ((group % tiles_m) * WG + lane) * 4u;
  let k4 = params.k / 4u;
  let last = params.m - 1u;

  let r0 = min(m0 + 0u, last) * k4;
  let r1 = min(m0 + 1u, last) * k4;
  let r2 = min(m0 + 2u, last) * k4;
  let r3 = min(m0 + 3u, last) * k4;
  var c00 = vec4<f32>();
  var c01 = vec4<f32>();
  var c02 = vec4<f32>();
  var c03 = vec4<f32>();
  var c10 = vec4<f32>();
  var c11 = vec4<f32>();
  var c12 = vec4<f32>();
  var c13 = vec4<f32>();
  var c20 = vec4<f32>();
  var c21 = vec4<f32>();
  var c22 = vec4<f32>();
  var c23 = vec4<f32>();
  var c30 = vec4<f32>();
  var c31 = vec4<f32>();
  var c32 = vec4<f32>();
  var c33 = vec4<f32>();
  var at = panel * params.k * 4u + (lane & 3u);
  for (var kv = 0u; kv < k4; kv++) {
    let b0 = vec4<f32>(w[at + 0u]);
    let b1 = vec4<f32>(w[at + 4u]);
    let b2 = vec4<f32>(w[at + 8u]);
    let b3 = vec4<f32>(w[at + 12u]);
    let a0 = vec4<f32>(x[r0 + kv]);
    let a1 = vec4<f32>(x[r1 + kv]);
    let a2 = vec4<f32>(x[r2 + kv]);
    let a3 = vec4<f32>(x[r3 + kv]);
    let w00 = quadBroadcast(b0, 0u);
    let w01 = quadBroadcast(b0, 1u);
    let w02 = quadBroadcast(b0, 2u);
    let w03 = quadBroadcast(b0, 3u);
    c00 = fma(vec4<f32>(a0.x), w00, c00);
    c01 = fma(vec4<f32>(a0.x), w01, c01);
    c02 = fma(vec4<f32>(a0.x), w02, c02);
    c03 = fma(vec4<f32>(a0.x), w03, c03);
    c10 = fma(vec4<f32>(a1.x), w00, c10);
    c11 = fma(vec4<f32>(a1.x), w01, c11);
    c12 = fma(vec4<f32>(a1.x), w02, c12);
    c13 = fma(vec4<f32>(a1.x), w03, c13);
    c20 = fma(vec4<f32>(a2.x), w00, c20);
    c21 = fma(vec4<f32>(a2.x), w01, c21);
    c22 = fma(vec4<f32>(a2.x), w02, c22);
    c23 = fma(vec4<f32>(a2.x), w03, c23);
    c30 = fma(vec4<f32>(a3.x), w00, c30);
    c31 = fma(vec4<f32>(a3.x), w01, c31);
    c32 = fma(vec4<f32>(a3.x), w02, c32);
    c33 = fma(vec4<f32>(a3.x), w03, c33);
    let w10 = quadBroadcast(b1, 0u);
    let w11 = quadBroadcast(b1, 1u);
    let w12 = quadBroadcast(b1, 2u);
    let w13 = quadBroadcast(b1, 3u);
    c00 = fma(vec4<f32>(a0.y), w10, c00);
    c01 = fma(vec4<f32>(a0.y), w11, c01);
    c02 = fma(vec4<f32>(a0.y), w12, c02);
    c03 = fma(vec4<f32>(a0.y), w13, c03);
    c10 = fma(vec4<f32>(a1.y), w10, c10);
    c11 = fma(vec4<f32>(a1.y), w11, c11);
    c12 = fma(vec4<f32>(a1.y), w12, c12);
    c13 = fma(vec4<f32>(a1.y), w13, c13);
    c20 = fma(vec4<f32>(a2.y), w10, c20);
    c21 = fma(vec4<f32>(a2.y), w11, c21);
    c22 = fma(vec4<f32>(a2.y), w12, c22);
    c23 = fma(vec4<f32>(a2.y), w13, c23);
    c30 = fma(vec4<f32>(a3.y), w10, c30);
    c31 = fma(vec4<f32>(a3.y), w11, c31);
    c32 = fma(vec4<f32>(a3.y), w12, c32);
    c33 = fma(vec4<f32>(a3.y), w13, c33);
    let w20 = quadBroadcast(b2, 0u);
    let w21 = quadBroadcast(b2, 1u);
    let w22 = quadBroadcast(b2, 2u);
    let w23 = quadBroadcast(b2, 3u);
    c00 = fma(vec4<f32>(a0.z), w20, c00);
    c01 = fma(vec4<f32>(a0.z), w21, c01);
    c02 = fma(vec4<f32>(a0.z), w22, c02);
    c03 = fma(vec4<f32>(a0.z), w23, c03);
    c10 = fma(vec4<f32>(a1.z), w20, c10);
    c11 = fma(vec4<f32>(a1.z), w21, c11);
    c12 = fma(vec4<f32>(a1.z), w22, c12);
    c13 = fma(vec4<f32>(a1.z), w23, c13);
    c20 = fma(vec4<f32>(a2.z), w20, c20);
    c21 = fma(vec4<f32>(a2.z), w21, c21);
    c22 = fma(vec4<f32>(a2.z), w22, c22);
    c23 = fma(vec4<f32>(a2.z), w23, c23);
    c30 = fma(vec4<f32>(a3.z), w20, c30);
    c31 = fma(vec4<f32>(a3.z), w21, c31);
    c32 = fma(vec4<f32>(a3.z), w22, c32);
    c33 = fma(vec4<f32>(a3.z), w23, c33);
    let w30 = quadBroadcast(b3, 0u);
    let w31 = quadBroadcast(b3, 1u);
    let w32 = quadBroadcast(b3, 2u);
    let w33 = quadBroadcast(b3, 3u);
    c00 = fma(vec4<f32>(a0.w), w30, c00);
    c01 = fma(vec4<f32>(a0.w), w31, c01);
    c02 = fma(vec4<f32>(a0.w), w32, c02);
    c03 = fma(vec4<f32>(a0.w), w33, c03);
    c10 = fma(vec4<f32>(a1.w), w30, c10);
    c11 = fma(vec4<f32>(a1.w), w31, c11);
    c12 = fma(vec4<f32>(a1.w), w32, c12);
    c13 = fma(vec4<f32>(a1.w), w33, c13);
    c20 = fma(vec4<f32>(a2.w), w30, c20);
    c21 = fma(vec4<f32>(a2.w), w31, c21);
    c22 = fma(vec4<f32>(a2.w), w32, c22);
    c23 = fma(vec4<f32>(a2.w), w33, c23);
    c30 = fma(vec4<f32>(a3.w), w30, c30);
    c31 = fma(vec4<f32>(a3.w), w31, c31);
    c32 = fma(vec4<f32>(a3.w), w32, c32);
    c33 = fma(vec4<f32>(a3.w), w33, c33);
    at += 16u;
  }
  store(m0 + 0u, panel, c00, c01, c02, c03);
  store(m0 + 1u, panel, c10, c11, c12, c13);
  store(m0 + 2u, panel, c20, c21, c22, c23);
  store(m0 + 3u, panel, c30, c31, c32, c33);
}
