// attention_dq_flash.wgsl — the gradient of attention with respect to q, for GPUs
//
// Shapes    q [N, Rq, D] · k, v [N, Rk, D] · dq [N, Rq, D]
//           tiles: (first query, queries, first key, keys' end) of each workgroup; queries of none have no keys, and zeros
// Work      one workgroup per OWN queries of a head; a thread owns ROWS of them, TY apart. For every WALK keys: dw = dy·vᵀ, then, k in
//           v's place, scores = q·kᵀ, ROWS × 4 of each a thread; weights = exp(score − log-sum-exp); ds = weights · (dw − Σ dy·y) to
//           workgroup memory; then sums += ds · k, ROWS rows × every TX-th vec4 column a thread.
// Dispatch  (tiles · heads, folded, 1)
// Cost      6·Rq·Rk·D·N flops, OWN/2 a byte of k and v in f32; compute bound
// Occupancy 4 waves a SIMD or more on RDNA 3: two workgroups of 128 threads fit its 128 KB of workgroup memory, at D 64 and at D 128
// Banks     Rows have an odd number of vectors, and the buffer's row r holds key 4·(r mod TX) + r/TX, as in attention_flash.wgsl
// Needs     D % 4 == 0; (2·OWN + WALK)·(D + 4) + OWN·(WALK + 4) words of workgroup memory (src/ops/attention/gradient_variants.ts)
// Numerics  f32 scores, weights, sums
// After     Dao et al. 2022, arXiv:2205.14135, with the loops of Dao 2023, arXiv:2307.08691; no atomics: the sums have a fixed order
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
//! part shared/attention_gradient.wgsl
//! specialise
alias X = f32;
//! end
// d4: vectors of a row of a head · rows_q, rows_k: of a head · heads: bound ones · tiles: of the list
struct Params { d4: u32, rows_q: u32, rows_k: u32, heads: u32, tiles: u32, scale: f32 }
@group(0) @binding(1) var<storage, read> q: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<X>>;
// dy by head, a row of it (log-sum-exp, dy·y, 0, 0) after its d4 vectors (attention_rows.wgsl)
@group(0) @binding(4) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> tiles: array<vec4<u32>>;
//! part ends
@group(0) @binding(6) var<storage, read_write> dq: array<vec4<X>>;
//! part shared/attention_gradient_tile.wgsl
//! specialise
const D4: u32 = 16u;
const OWN: u32 = 32u;
const WALK: u32 = 32u;
const ROWS: u32 = 4u;
//! end
const LOG2_E: f32 = 1.4426950408889634;

const TX: u32 = WALK / 4u;
const TY: u32 = OWN / ROWS;
const WG: u32 = TX * TY;
const COLUMNS: u32 = (D4 + TX - 1u) / TX;
const STRIDE: u32 = D4 + 1u;
const S_STRIDE: u32 = TX + 1u;
const LOADS: u32 = (WALK * D4 + WG - 1u) / WG;

// A vector of a row by one of each of four rows.
fn products(a: vec4<f32>, b0: vec4<f32>, b1: vec4<f32>, b2: vec4<f32>, b3: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
  var s = fma(vec4<f32>(a.x), vec4<f32>(b0.x, b1.x, b2.x, b3.x), sum);
  s = fma(vec4<f32>(a.y), vec4<f32>(b0.y, b1.y, b2.y, b3.y), s);
  s = fma(vec4<f32>(a.z), vec4<f32>(b0.z, b1.z, b2.z, b3.z), s);
  return fma(vec4<f32>(a.w), vec4<f32>(b0.w, b1.w, b2.w, b3.w), s);
}

alias Sums = array<array<vec4<f32>, COLUMNS>, ROWS>;
var<workgroup> sh_a: array<vec4<f32>, OWN * STRIDE>;
var<workgroup> sh_b: array<vec4<f32>, OWN * STRIDE>;
var<workgroup> sh_walk: array<vec4<f32>, WALK * STRIDE>;
var<workgroup> sh_s: array<vec4<f32>, OWN * S_STRIDE>;

// A thread's own rows of sh_a by its walked ones.
fn products_a(tx: u32, ty: u32) -> array<vec4<f32>, ROWS> {
  // Initialised explicitly: some WGSL compilers hoist the variable and clear it only once.
  var s = array<vec4<f32>, ROWS>();
  for (var d = 0u; d < D4; d++) {
    let w0 = sh_walk[tx * STRIDE + d];
    let w1 = sh_walk[(tx + TX) * STRIDE + d];
    let w2 = sh_walk[(tx + 2u * TX) * STRIDE + d];
    let w3 = sh_walk[(tx + 3u * TX) * STRIDE + d];
    for (var i = 0u; i < ROWS; i++) { s[i] = products(sh_a[(ty + i * TY) * STRIDE + d], w0, w1, w2, w3, s[i]); }
  }
  return s;
}
fn products_b(tx: u32, ty: u32) -> array<vec4<f32>, ROWS> {
  var s = array<vec4<f32>, ROWS>();
  for (var d = 0u; d < D4; d++) {
    let w0 = sh_walk[tx * STRIDE + d];
    let w1 = sh_walk[(tx + TX) * STRIDE + d];
    let w2 = sh_walk[(tx + 2u * TX) * STRIDE + d];
    let w3 = sh_walk[(tx + 3u * TX) * STRIDE + d];
    for (var i = 0u; i < ROWS; i++) { s[i] = products(sh_b[(ty + i * TY) * STRIDE + d], w0, w1, w2, w3, s[i]); }
  }
  return s;
}

// sums += sh_s · sh_walk
fn add(sums: ptr<function, Sums>, tx: u32, ty: u32) {
  for (var n = 0u; n < TX; n++) {
    var s: array<vec4<f32>, ROWS>;
    for (var i = 0u; i < ROWS; i++) { s[i] = sh_s[(ty + i * TY) * S_STRIDE + n]; }
    for (var c = 0u; c < COLUMNS; c++) {
      for (var j = 0u; j < 4u; j++) {
        let value = sh_walk[(n + j * TX) * STRIDE + min(tx + c * TX, D4 - 1u)];
        for (var i = 0u; i < ROWS; i++) { (*sums)[i][c] = fma(vec4<f32>(s[i][j]), value, (*sums)[i][c]); }
      }
    }
  }
}
//! part ends

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  //! part shared/attention_gradient_place.wgsl
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles * params.heads) { return; }
  let tile = tiles[group % params.tiles];
  // A list may have room for more tiles than there are.
  if (tile.y == 0u) { return; }
  let last = tile.x + tile.y - 1u;
  let q_base = group / params.tiles * params.rows_q;
  let k_base = group / params.tiles * params.rows_k;
  //! part ends
  let tx = lane % TX;
  let ty = lane / TX;

  // Scores in powers of two: the exponential is then one instruction.
  for (var at = lane; at < OWN * D4; at += WG) {
    let row = q_base + min(tile.x + at / D4, last);
    sh_a[at / D4 * STRIDE + at % D4] = vec4<f32>(q[row * D4 + at % D4]) * (params.scale * LOG2_E);
    sh_b[at / D4 * STRIDE + at % D4] = rows[row * (D4 + 1u) + at % D4];
  }
  var logs: array<f32, ROWS>;
  var sums: array<f32, ROWS>;
  for (var i = 0u; i < ROWS; i++) {
    let own = rows[(q_base + min(tile.x + ty + i * TY, last)) * (D4 + 1u) + D4];
    logs[i] = own.x * LOG2_E;
    sums[i] = own.y;
  }
  var acc: Sums;

  for (var key = tile.z; key < tile.w; key += WALK) {
    for (var i = 0u; i < LOADS; i++) {
      // Never so, which compilers cannot know: where they unroll this many loads, the registers do not suffice.
      if (LOADS >= 16u && params.rows_k == 0u) { break; }
      let at = lane + i * WG;
      let n = at / D4;
      if (WALK * D4 % WG == 0u || at < WALK * D4) {
        sh_walk[(n / 4u + n % 4u * TX) * STRIDE + at % D4] = vec4<f32>(v[(k_base + min(key + n, tile.w - 1u)) * D4 + at % D4]);
      }
    }
    workgroupBarrier();
    let dw = products_b(tx, ty);
    workgroupBarrier();
    // v has been read by all: k takes its place.
    for (var i = 0u; i < LOADS; i++) {
      if (LOADS >= 16u && params.rows_k == 0u) { break; }
      let at = lane + i * WG;
      let n = at / D4;
      if (WALK * D4 % WG == 0u || at < WALK * D4) {
        sh_walk[(n / 4u + n % 4u * TX) * STRIDE + at % D4] = vec4<f32>(k[(k_base + min(key + n, tile.w - 1u)) * D4 + at % D4]);
      }
    }
    workgroupBarrier();
    let s = products_a(tx, ty);
    let real = vec4<u32>(key + tx * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(tile.w);
    for (var i = 0u; i < ROWS; i++) {
      let weight = exp2(max(s[i] - logs[i], vec4<f32>(-126.0)));
      sh_s[(ty + i * TY) * S_STRIDE + tx] = select(vec4<f32>(), weight * (dw[i] - sums[i]), real);
    }
    workgroupBarrier();
    add(&acc, tx, ty);
    workgroupBarrier();
  }

  for (var i = 0u; i < ROWS; i++) {
    let row = tile.x + ty + i * TY;
    for (var c = 0u; c < COLUMNS; c++) {
      let column = tx + c * TX;
      if (row <= last && column < D4) { dq[(q_base + row) * D4 + column] = vec4<X>(acc[i][c] * params.scale); }
    }
  }
}
