// attention_quad.wgsl — softmax(scale · q·kᵀ) · v, online, for CPU adapters
//
// Shapes    q [N, Rq, D] · k in panels of 16 keys, [N, ceil(Rk/16), D, 16] (transpose_panels.wgsl) · v [N, Rk, D]
//           y [Rq, N·D] · tiles: (first query, queries, first key, keys' end) of each workgroup
// Work      one lane owns 4 queries; for a panel of 16 keys it has 4 × 16 scores in 16 named vectors, computed as in
//           a matmul (the quad shares loads by quadBroadcast), turns them into weights with a running maximum and sum
//           (online softmax), and adds weights · v to its 4 × D sums, 16 columns at a time. No workgroup memory, no barrier.
//           The sums are the one array indexed by a loop: read and written once for 256 multiply-adds.
// Dispatch  (tiles · heads, folded, 1)
// Cost      4·Rq·Rk·D·N flops; compute bound
// Needs     subgroups · D % 4 == 0, CHUNKS = ceil(D/16) (src/ops/attention.ts)
// Numerics  f32 scores, weights, sums; masked keys by a finite sentinel; keys past a segment's end never count
// After     Dao et al. 2022, arXiv:2205.14135; Milakov & Gimelshein 2018, arXiv:1805.02867
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const CHUNKS: u32 = 4u;
//! end
override WG: u32 = 8;
struct Params { d4: u32, rows_q: u32, rows_k: u32, heads: u32, head_base: u32, heads_total: u32, tiles: u32, row_base: u32, scale: f32 }
@group(0) @binding(1) var<storage, read> q: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<X>>;
@group(0) @binding(4) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<Y>>;

const MASKED: f32 = -1e30;

fn hmax(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> f32 {
  let m = max(max(a, b), max(c, d));
  return max(max(m.x, m.y), max(m.z, m.w));
}
fn hsum(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> f32 { return dot(a + b + c + d, vec4<f32>(1.0)); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles * params.heads) { return; }
  let head = group / params.tiles;
  let tile = tiles[group % params.tiles];
  let d4 = params.d4;
  let first = tile.x + lane * 4u;
  let last = tile.x + tile.y - 1u;
  let quad = lane & 3u;
  let q_base = head * params.rows_q;
  let v_base = head * params.rows_k;
  let panels = (params.rows_k + 15u) / 16u;
  let r0 = (q_base + min(first + 0u, last)) * d4;
  let r1 = (q_base + min(first + 1u, last)) * d4;
  let r2 = (q_base + min(first + 2u, last)) * d4;
  let r3 = (q_base + min(first + 3u, last)) * d4;
  var m0 = MASKED; var l0 = 0.0;
  var m1 = MASKED; var l1 = 0.0;
  var m2 = MASKED; var l2 = 0.0;
  var m3 = MASKED; var l3 = 0.0;
  var sums: array<vec4<f32>, CHUNKS * 16u>;

  for (var panel = tile.z / 16u; panel * 16u < tile.w; panel++) {
    var s00 = vec4<f32>(); var s01 = vec4<f32>(); var s02 = vec4<f32>(); var s03 = vec4<f32>();
    var s10 = vec4<f32>(); var s11 = vec4<f32>(); var s12 = vec4<f32>(); var s13 = vec4<f32>();
    var s20 = vec4<f32>(); var s21 = vec4<f32>(); var s22 = vec4<f32>(); var s23 = vec4<f32>();
    var s30 = vec4<f32>(); var s31 = vec4<f32>(); var s32 = vec4<f32>(); var s33 = vec4<f32>();
    var at = (head * panels + panel) * d4 * 16u + quad;
    for (var kv = 0u; kv < d4; kv++) {
      let b0 = vec4<f32>(k[at + 0u]);
      let b1 = vec4<f32>(k[at + 4u]);
      let b2 = vec4<f32>(k[at + 8u]);
      let b3 = vec4<f32>(k[at + 12u]);
      let a0 = vec4<f32>(q[r0 + kv]);
      let a1 = vec4<f32>(q[r1 + kv]);
      let a2 = vec4<f32>(q[r2 + kv]);
      let a3 = vec4<f32>(q[r3 + kv]);
      let w00 = quadBroadcast(b0, 0u);
      let w01 = quadBroadcast(b0, 1u);
      let w02 = quadBroadcast(b0, 2u);
      let w03 = quadBroadcast(b0, 3u);
      s00 = fma(vec4<f32>(a0.x), w00, s00); s01 = fma(vec4<f32>(a0.x), w01, s01); s02 = fma(vec4<f32>(a0.x), w02, s02); s03 = fma(vec4<f32>(a0.x), w03, s03);
      s10 = fma(vec4<f32>(a1.x), w00, s10); s11 = fma(vec4<f32>(a1.x), w01, s11); s12 = fma(vec4<f32>(a1.x), w02, s12); s13 = fma(vec4<f32>(a1.x), w03, s13);
      s20 = fma(vec4<f32>(a2.x), w00, s20); s21 = fma(vec4<f32>(a2.x), w01, s21); s22 = fma(vec4<f32>(a2.x), w02, s22); s23 = fma(vec4<f32>(a2.x), w03, s23);
      s30 = fma(vec4<f32>(a3.x), w00, s30); s31 = fma(vec4<f32>(a3.x), w01, s31); s32 = fma(vec4<f32>(a3.x), w02, s32); s33 = fma(vec4<f32>(a3.x), w03, s33);
      let w10 = quadBroadcast(b1, 0u);
      let w11 = quadBroadcast(b1, 1u);
      let w12 = quadBroadcast(b1, 2u);
      let w13 = quadBroadcast(b1, 3u);
      s00 = fma(vec4<f32>(a0.y), w10, s00); s01 = fma(vec4<f32>(a0.y), w11, s01); s02 = fma(vec4<f32>(a0.y), w12, s02); s03 = fma(vec4<f32>(a0.y), w13, s03);
      s10 = fma(vec4<f32>(a1.y), w10, s10); s11 = fma(vec4<f32>(a1.y), w11, s11); s12 = fma(vec4<f32>(a1.y), w12, s12); s13 = fma(vec4<f32>(a1.y), w13, s13);
      s20 = fma(vec4<f32>(a2.y), w10, s20); s21 = fma(vec4<f32>(a2.y), w11, s21); s22 = fma(vec4<f32>(a2.y), w12, s22); s23 = fma(vec4<f32>(a2.y), w13, s23);
      s30 = fma(vec4<f32>(a3.y), w10, s30); s31 = fma(vec4<f32>(a3.y), w11, s31); s32 = fma(vec4<f32>(a3.y), w12, s32); s33 = fma(vec4<f32>(a3.y), w13, s33);
      let w20 = quadBroadcast(b2, 0u);
      let w21 = quadBroadcast(b2, 1u);
      let w22 = quadBroadcast(b2, 2u);
      let w23 = quadBroadcast(b2, 3u);
      s00 = fma(vec4<f32>(a0.z), w20, s00); s01 = fma(vec4<f32>(a0.z), w21, s01); s02 = fma(vec4<f32>(a0.z), w22, s02); s03 = fma(vec4<f32>(a0.z), w23, s03);
      s10 = fma(vec4<f32>(a1.z), w20, s10); s11 = fma(vec4<f32>(a1.z), w21, s11); s12 = fma(vec4<f32>(a1.z), w22, s12); s13 = fma(vec4<f32>(a1.z), w23, s13);
      s20 = fma(vec4<f32>(a2.z), w20, s20); s21 = fma(vec4<f32>(a2.z), w21, s21); s22 = fma(vec4<f32>(a2.z), w22, s22); s23 = fma(vec4<f32>(a2.z), w23, s23);
      s30 = fma(vec4<f32>(a3.z), w20, s30); s31 = fma(vec4<f32>(a3.z), w21, s31); s32 = fma(vec4<f32>(a3.z), w22, s32); s33 = fma(vec4<f32>(a3.z), w23, s33);
      let w30 = quadBroadcast(b3, 0u);
      let w31 = quadBroadcast(b3, 1u);
      let w32 = quadBroadcast(b3, 2u);
      let w33 = quadBroadcast(b3, 3u);
      s00 = fma(vec4<f32>(a0.w), w30, s00); s01 = fma(vec4<f32>(a0.w), w31, s01); s02 = fma(vec4<f32>(a0.w), w32, s02); s03 = fma(vec4<f32>(a0.w), w33, s03);
      s10 = fma(vec4<f32>(a1.w), w30, s10); s11 = fma(vec4<f32>(a1.w), w31, s11); s12 = fma(vec4<f32>(a1.w), w32, s12); s13 = fma(vec4<f32>(a1.w), w33, s13);
      s20 = fma(vec4<f32>(a2.w), w30, s20); s21 = fma(vec4<f32>(a2.w), w31, s21); s22 = fma(vec4<f32>(a2.w), w32, s22); s23 = fma(vec4<f32>(a2.w), w33, s23);
      s30 = fma(vec4<f32>(a3.w), w30, s30); s31 = fma(vec4<f32>(a3.w), w31, s31); s32 = fma(vec4<f32>(a3.w), w32, s32); s33 = fma(vec4<f32>(a3.w), w33, s33);
      at += 16u;
    }
    let key = panel * 16u;
    let lanes = vec4<u32>(0u, 1u, 2u, 3u);
    let n0 = vec4<u32>(key + 0u) + lanes;
    let ok0 = (n0 >= vec4<u32>(tile.z)) & (n0 < vec4<u32>(tile.w));
    let n1 = vec4<u32>(key + 4u) + lanes;
    let ok1 = (n1 >= vec4<u32>(tile.z)) & (n1 < vec4<u32>(tile.w));
    let n2 = vec4<u32>(key + 8u) + lanes;
    let ok2 = (n2 >= vec4<u32>(tile.z)) & (n2 < vec4<u32>(tile.w));
    let n3 = vec4<u32>(key + 12u) + lanes;
    let ok3 = (n3 >= vec4<u32>(tile.z)) & (n3 < vec4<u32>(tile.w));
    s00 = select(vec4<f32>(MASKED), s00 * params.scale, ok0);
    s01 = select(vec4<f32>(MASKED), s01 * params.scale, ok1);
    s02 = select(vec4<f32>(MASKED), s02 * params.scale, ok2);
    s03 = select(vec4<f32>(MASKED), s03 * params.scale, ok3);
    let new0 = max(m0, hmax(s00, s01, s02, s03));
    let alpha0 = exp(max(m0 - new0, -80.0)) * select(1.0, 0.0, m0 == MASKED);
    m0 = new0;
    s00 = select(vec4<f32>(), exp(max(s00 - new0, vec4<f32>(-80.0))), ok0);
    s01 = select(vec4<f32>(), exp(max(s01 - new0, vec4<f32>(-80.0))), ok1);
    s02 = select(vec4<f32>(), exp(max(s02 - new0, vec4<f32>(-80.0))), ok2);
    s03 = select(vec4<f32>(), exp(max(s03 - new0, vec4<f32>(-80.0))), ok3);
    l0 = l0 * alpha0 + hsum(s00, s01, s02, s03);
    s10 = select(vec4<f32>(MASKED), s10 * params.scale, ok0);
    s11 = select(vec4<f32>(MASKED), s11 * params.scale, ok1);
    s12 = select(vec4<f32>(MASKED), s12 * params.scale, ok2);
    s13 = select(vec4<f32>(MASKED), s13 * params.scale, ok3);
    let new1 = max(m1, hmax(s10, s11, s12, s13));
    let alpha1 = exp(max(m1 - new1, -80.0)) * select(1.0, 0.0, m1 == MASKED);
    m1 = new1;
    s10 = select(vec4<f32>(), exp(max(s10 - new1, vec4<f32>(-80.0))), ok0);
    s11 = select(vec4<f32>(), exp(max(s11 - new1, vec4<f32>(-80.0))), ok1);
    s12 = select(vec4<f32>(), exp(max(s12 - new1, vec4<f32>(-80.0))), ok2);
    s13 = select(vec4<f32>(), exp(max(s13 - new1, vec4<f32>(-80.0))), ok3);
    l1 = l1 * alpha1 + hsum(s10, s11, s12, s13);
    s20 = select(vec4<f32>(MASKED), s20 * params.scale, ok0);
    s21 = select(vec4<f32>(MASKED), s21 * params.scale, ok1);
    s22 = select(vec4<f32>(MASKED), s22 * params.scale, ok2);
    s23 = select(vec4<f32>(MASKED), s23 * params.scale, ok3);
    let new2 = max(m2, hmax(s20, s21, s22, s23));
    let alpha2 = exp(max(m2 - new2, -80.0)) * select(1.0, 0.0, m2 == MASKED);
    m2 = new2;
    s20 = select(vec4<f32>(), exp(max(s20 - new2, vec4<f32>(-80.0))), ok0);
    s21 = select(vec4<f32>(), exp(max(s21 - new2, vec4<f32>(-80.0))), ok1);
    s22 = select(vec4<f32>(), exp(max(s22 - new2, vec4<f32>(-80.0))), ok2);
    s23 = select(vec4<f32>(), exp(max(s23 - new2, vec4<f32>(-80.0))), ok3);
    l2 = l2 * alpha2 + hsum(s20, s21, s22, s23);
    s30 = select(vec4<f32>(MASKED), s30 * params.scale, ok0);
    s31 = select(vec4<f32>(MASKED), s31 * params.scale, ok1);
    s32 = select(vec4<f32>(MASKED), s32 * params.scale, ok2);
    s33 = select(vec4<f32>(MASKED), s33 * params.scale, ok3);
    let new3 = max(m3, hmax(s30, s31, s32, s33));
    let alpha3 = exp(max(m3 - new3, -80.0)) * select(1.0, 0.0, m3 == MASKED);
    m3 = new3;
    s30 = select(vec4<f32>(), exp(max(s30 - new3, vec4<f32>(-80.0))), ok0);
    s31 = select(vec4<f32>(), exp(max(s31 - new3, vec4<f32>(-80.0))), ok1);
    s32 = select(vec4<f32>(), exp(max(s32 - new3, vec4<f32>(-80.0))), ok2);
    s33 = select(vec4<f32>(), exp(max(s33 - new3, vec4<f32>(-80.0))), ok3);
    l3 = l3 * alpha3 + hsum(s30, s31, s32, s33);
    let end = params.rows_k - 1u;
    for (var c = 0u; c < CHUNKS; c++) {
      let column = min(c * 4u + quad, d4 - 1u);
      var o00 = sums[c * 16u + 0u] * alpha0; var o01 = sums[c * 16u + 1u] * alpha0; var o02 = sums[c * 16u + 2u] * alpha0; var o03 = sums[c * 16u + 3u] * alpha0;
      var o10 = sums[c * 16u + 4u] * alpha1; var o11 = sums[c * 16u + 5u] * alpha1; var o12 = sums[c * 16u + 6u] * alpha1; var o13 = sums[c * 16u + 7u] * alpha1;
      var o20 = sums[c * 16u + 8u] * alpha2; var o21 = sums[c * 16u + 9u] * alpha2; var o22 = sums[c * 16u + 10u] * alpha2; var o23 = sums[c * 16u + 11u] * alpha2;
      var o30 = sums[c * 16u + 12u] * alpha3; var o31 = sums[c * 16u + 13u] * alpha3; var o32 = sums[c * 16u + 14u] * alpha3; var o33 = sums[c * 16u + 15u] * alpha3;
      let v00 = vec4<f32>(v[(v_base + min(key + 0u, end)) * d4 + column]);
      let v01 = vec4<f32>(v[(v_base + min(key + 1u, end)) * d4 + column]);
      let v02 = vec4<f32>(v[(v_base + min(key + 2u, end)) * d4 + column]);
      let v03 = vec4<f32>(v[(v_base + min(key + 3u, end)) * d4 + column]);
      let x000 = quadBroadcast(v00, 0u); let x001 = quadBroadcast(v00, 1u); let x002 = quadBroadcast(v00, 2u); let x003 = quadBroadcast(v00, 3u);
      o00 = fma(vec4<f32>(s00.x), x000, o00); o01 = fma(vec4<f32>(s00.x), x001, o01); o02 = fma(vec4<f32>(s00.x), x002, o02); o03 = fma(vec4<f32>(s00.x), x003, o03);
      o10 = fma(vec4<f32>(s10.x), x000, o10); o11 = fma(vec4<f32>(s10.x), x001, o11); o12 = fma(vec4<f32>(s10.x), x002, o12); o13 = fma(vec4<f32>(s10.x), x003, o13);
      o20 = fma(vec4<f32>(s20.x), x000, o20); o21 = fma(vec4<f32>(s20.x), x001, o21); o22 = fma(vec4<f32>(s20.x), x002, o22); o23 = fma(vec4<f32>(s20.x), x003, o23);
      o30 = fma(vec4<f32>(s30.x), x000, o30); o31 = fma(vec4<f32>(s30.x), x001, o31); o32 = fma(vec4<f32>(s30.x), x002, o32); o33 = fma(vec4<f32>(s30.x), x003, o33);
      let x010 = quadBroadcast(v01, 0u); let x011 = quadBroadcast(v01, 1u); let x012 = quadBroadcast(v01, 2u); let x013 = quadBroadcast(v01, 3u);
      o00 = fma(vec4<f32>(s00.y), x010, o00); o01 = fma(vec4<f32>(s00.y), x011, o01); o02 = fma(vec4<f32>(s00.y), x012, o02); o03 = fma(vec4<f32>(s00.y), x013, o03);
      o10 = fma(vec4<f32>(s10.y), x010, o10); o11 = fma(vec4<f32>(s10.y), x011, o11); o12 = fma(vec4<f32>(s10.y), x012, o12); o13 = fma(vec4<f32>(s10.y), x013, o13);
      o20 = fma(vec4<f32>(s20.y), x010, o20); o21 = fma(vec4<f32>(s20.y), x011, o21); o22 = fma(vec4<f32>(s20.y), x012, o22); o23 = fma(vec4<f32>(s20.y), x013, o23);
      o30 = fma(vec4<f32>(s30.y), x010, o30); o31 = fma(vec4<f32>(s30.y), x011, o31); o32 = fma(vec4<f32>(s30.y), x012, o32); o33 = fma(vec4<f32>(s30.y), x013, o33);
      let x020 = quadBroadcast(v02, 0u); let x021 = quadBroadcast(v02, 1u); let x022 = quadBroadcast(v02, 2u); let x023 = quadBroadcast(v02, 3u);
      o00 = fma(vec4<f32>(s00.z), x020, o00); o01 = fma(vec4<f32>(s00.z), x021, o01); o02 = fma(vec4<f32>(s00.z), x022, o02); o03 = fma(vec4<f32>(s00.z), x023, o03);
      o10 = fma(vec4<f32>(s10.z), x020, o10); o11 = fma(vec4<f32>(s10.z), x021, o11); o12 = fma(vec4<f32>(s10.z), x022, o12); o13 = fma(vec4<f32>(s10.z), x023, o13);
      o20 = fma(vec4<f32>(s20.z), x020, o20); o21 = fma(vec4<f32>(s20.z), x021, o21); o22 = fma(vec4<f32>(s20.z), x022, o22); o23 = fma(vec4<f32>(s20.z), x023, o23);
      o30 = fma(vec4<f32>(s30.z), x020, o30); o31 = fma(vec4<f32>(s30.z), x021, o31); o32 = fma(vec4<f32>(s30.z), x022, o32); o33 = fma(vec4<f32>(s30.z), x023, o33);
      let x030 = quadBroadcast(v03, 0u); let x031 = quadBroadcast(v03, 1u); let x032 = quadBroadcast(v03, 2u); let x033 = quadBroadcast(v03, 3u);
      o00 = fma(vec4<f32>(s00.w), x030, o00); o01 = fma(vec4<f32>(s00.w), x031, o01); o02 = fma(vec4<f32>(s00.w), x032, o02); o03 = fma(vec4<f32>(s00.w), x033, o03);
      o10 = fma(vec4<f32>(s10.w), x030, o10); o11 = fma(vec4<f32>(s10.w), x031, o11); o12 = fma(vec4<f32>(s10.w), x032, o12); o13 = fma(vec4<f32>(s10.w), x033, o13);
      o20 = fma(vec4<f32>(s20.w), x030, o20); o21 = fma(vec4<f32>(s20.w), x031, o21); o22 = fma(vec4<f32>(s20.w), x032, o22); o23 = fma(vec4<f32>(s20.w), x033, o23);
      o30 = fma(vec4<f32>(s30.w), x030, o30); o31 = fma(vec4<f32>(s30.w), x031, o31); o32 = fma(vec4<f32>(s30.w), x032, o32); o33 = fma(vec4<f32>(s30.w), x033, o33);
      let v10 = vec4<f32>(v[(v_base + min(key + 4u, end)) * d4 + column]);
      let v11 = vec4<f32>(v[(v_base + min(key + 5u, end)) * d4 + column]);
      let v12 = vec4<f32>(v[(v_base + min(key + 6u, end)) * d4 + column]);
      let v13 = vec4<f32>(v[(v_base + min(key + 7u, end)) * d4 + column]);
      let x100 = quadBroadcast(v10, 0u); let x101 = quadBroadcast(v10, 1u); let x102 = quadBroadcast(v10, 2u); let x103 = quadBroadcast(v10, 3u);
      o00 = fma(vec4<f32>(s01.x), x100, o00); o01 = fma(vec4<f32>(s01.x), x101, o01); o02 = fma(vec4<f32>(s01.x), x102, o02); o03 = fma(vec4<f32>(s01.x), x103, o03);
      o10 = fma(vec4<f32>(s11.x), x100, o10); o11 = fma(vec4<f32>(s11.x), x101, o11); o12 = fma(vec4<f32>(s11.x), x102, o12); o13 = fma(vec4<f32>(s11.x), x103, o13);
      o20 = fma(vec4<f32>(s21.x), x100, o20); o21 = fma(vec4<f32>(s21.x), x101, o21); o22 = fma(vec4<f32>(s21.x), x102, o22); o23 = fma(vec4<f32>(s21.x), x103, o23);
      o30 = fma(vec4<f32>(s31.x), x100, o30); o31 = fma(vec4<f32>(s31.x), x101, o31); o32 = fma(vec4<f32>(s31.x), x102, o32); o33 = fma(vec4<f32>(s31.x), x103, o33);
      let x110 = quadBroadcast(v11, 0u); let x111 = quadBroadcast(v11, 1u); let x112 = quadBroadcast(v11, 2u); let x113 = quadBroadcast(v11, 3u);
      o00 = fma(vec4<f32>(s01.y), x110, o00); o01 = fma(vec4<f32>(s01.y), x111, o01); o02 = fma(vec4<f32>(s01.y), x112, o02); o03 = fma(vec4<f32>(s01.y), x113, o03);
      o10 = fma(vec4<f32>(s11.y), x110, o10); o11 = fma(vec4<f32>(s11.y), x111, o11); o12 = fma(vec4<f32>(s11.y), x112, o12); o13 = fma(vec4<f32>(s11.y), x113, o13);
      o20 = fma(vec4<f32>(s21.y), x110, o20); o21 = fma(vec4<f32>(s21.y), x111, o21); o22 = fma(vec4<f32>(s21.y), x112, o22); o23 = fma(vec4<f32>(s21.y), x113, o23);
      o30 = fma(vec4<f32>(s31.y), x110, o30); o31 = fma(vec4<f32>(s31.y), x111, o31); o32 = fma(vec4<f32>(s31.y), x112, o32); o33 = fma(vec4<f32>(s31.y), x113, o33);
      let x120 = quadBroadcast(v12, 0u); let x121 = quadBroadcast(v12, 1u); let x122 = quadBroadcast(v12, 2u); let x123 = quadBroadcast(v12, 3u);
      o00 = fma(vec4<f32>(s01.z), x120, o00); o01 = fma(vec4<f32>(s01.z), x121, o01); o02 = fma(vec4<f32>(s01.z), x122, o02); o03 = fma(vec4<f32>(s01.z), x123, o03);
      o10 = fma(vec4<f32>(s11.z), x120, o10); o11 = fma(vec4<f32>(s11.z), x121, o11); o12 = fma(vec4<f32>(s11.z), x122, o12); o13 = fma(vec4<f32>(s11.z), x123, o13);
      o20 = fma(vec4<f32>(s21.z), x120, o20); o21 = fma(vec4<f32>(s21.z), x121, o21); o22 = fma(vec4<f32>(s21.z), x122, o22); o23 = fma(vec4<f32>(s21.z), x123, o23);
      o30 = fma(vec4<f32>(s31.z), x120, o30); o31 = fma(vec4<f32>(s31.z), x121, o31); o32 = fma(vec4<f32>(s31.z), x122, o32); o33 = fma(vec4<f32>(s31.z), x123, o33);
      let x130 = quadBroadcast(v13, 0u); let x131 = quadBroadcast(v13, 1u); let x132 = quadBroadcast(v13, 2u); let x133 = quadBroadcast(v13, 3u);
      o00 = fma(vec4<f32>(s01.w), x130, o00); o01 = fma(vec4<f32>(s01.w), x131, o01); o02 = fma(vec4<f32>(s01.w), x132, o02); o03 = fma(vec4<f32>(s01.w), x133, o03);
      o10 = fma(vec4<f32>(s11.w), x130, o10); o11 = fma(vec4<f32>(s11.w), x131, o11); o12 = fma(vec4<f32>(s11.w), x132, o12); o13 = fma(vec4<f32>(s11.w), x133, o13);
      o20 = fma(vec4<f32>(s21.w), x130, o20); o21 = fma(vec4<f32>(s21.w), x131, o21); o22 = fma(vec4<f32>(s21.w), x132, o22); o23 = fma(vec4<f32>(s21.w), x133, o23);
      o30 = fma(vec4<f32>(s31.w), x130, o30); o31 = fma(vec4<f32>(s31.w), x131, o31); o32 = fma(vec4<f32>(s31.w), x132, o32); o33 = fma(vec4<f32>(s31.w), x133, o33);
      let v20 = vec4<f32>(v[(v_base + min(key + 8u, end)) * d4 + column]);
      let v21 = vec4<f32>(v[(v_base + min(key + 9u, end)) * d4 + column]);
      let v22 = vec4<f32>(v[(v_base + min(key + 10u, end)) * d4 + column]);
      let v23 = vec4<f32>(v[(v_base + min(key + 11u, end)) * d4 + column]);
      let x200 = quadBroadcast(v20, 0u); let x201 = quadBroadcast(v20, 1u); let x202 = quadBroadcast(v20, 2u); let x203 = quadBroadcast(v20, 3u);
      o00 = fma(vec4<f32>(s02.x), x200, o00); o01 = fma(vec4<f32>(s02.x), x201, o01); o02 = fma(vec4<f32>(s02.x), x202, o02); o03 = fma(vec4<f32>(s02.x), x203, o03);
      o10 = fma(vec4<f32>(s12.x), x200, o10); o11 = fma(vec4<f32>(s12.x), x201, o11); o12 = fma(vec4<f32>(s12.x), x202, o12); o13 = fma(vec4<f32>(s12.x), x203, o13);
      o20 = fma(vec4<f32>(s22.x), x200, o20); o21 = fma(vec4<f32>(s22.x), x201, o21); o22 = fma(vec4<f32>(s22.x), x202, o22); o23 = fma(vec4<f32>(s22.x), x203, o23);
      o30 = fma(vec4<f32>(s32.x), x200, o30); o31 = fma(vec4<f32>(s32.x), x201, o31); o32 = fma(vec4<f32>(s32.x), x202, o32); o33 = fma(vec4<f32>(s32.x), x203, o33);
      let x210 = quadBroadcast(v21, 0u); let x211 = quadBroadcast(v21, 1u); let x212 = quadBroadcast(v21, 2u); let x213 = quadBroadcast(v21, 3u);
      o00 = fma(vec4<f32>(s02.y), x210, o00); o01 = fma(vec4<f32>(s02.y), x211, o01); o02 = fma(vec4<f32>(s02.y), x212, o02); o03 = fma(vec4<f32>(s02.y), x213, o03);
      o10 = fma(vec4<f32>(s12.y), x210, o10); o11 = fma(vec4<f32>(s12.y), x211, o11); o12 = fma(vec4<f32>(s12.y), x212, o12); o13 = fma(vec4<f32>(s12.y), x213, o13);
      o20 = fma(vec4<f32>(s22.y), x210, o20); o21 = fma(vec4<f32>(s22.y), x211, o21); o22 = fma(vec4<f32>(s22.y), x212, o22); o23 = fma(vec4<f32>(s22.y), x213, o23);
      o30 = fma(vec4<f32>(s32.y), x210, o30); o31 = fma(vec4<f32>(s32.y), x211, o31); o32 = fma(vec4<f32>(s32.y), x212, o32); o33 = fma(vec4<f32>(s32.y), x213, o33);
      let x220 = quadBroadcast(v22, 0u); let x221 = quadBroadcast(v22, 1u); let x222 = quadBroadcast(v22, 2u); let x223 = quadBroadcast(v22, 3u);
      o00 = fma(vec4<f32>(s02.z), x220, o00); o01 = fma(vec4<f32>(s02.z), x221, o01); o02 = fma(vec4<f32>(s02.z), x222, o02); o03 = fma(vec4<f32>(s02.z), x223, o03);
      o10 = fma(vec4<f32>(s12.z), x220, o10); o11 = fma(vec4<f32>(s12.z), x221, o11); o12 = fma(vec4<f32>(s12.z), x222, o12); o13 = fma(vec4<f32>(s12.z), x223, o13);
      o20 = fma(vec4<f32>(s22.z), x220, o20); o21 = fma(vec4<f32>(s22.z), x221, o21); o22 = fma(vec4<f32>(s22.z), x222, o22); o23 = fma(vec4<f32>(s22.z), x223, o23);
      o30 = fma(vec4<f32>(s32.z), x220, o30); o31 = fma(vec4<f32>(s32.z), x221, o31); o32 = fma(vec4<f32>(s32.z), x222, o32); o33 = fma(vec4<f32>(s32.z), x223, o33);
      let x230 = quadBroadcast(v23, 0u); let x231 = quadBroadcast(v23, 1u); let x232 = quadBroadcast(v23, 2u); let x233 = quadBroadcast(v23, 3u);
      o00 = fma(vec4<f32>(s02.w), x230, o00); o01 = fma(vec4<f32>(s02.w), x231, o01); o02 = fma(vec4<f32>(s02.w), x232, o02); o03 = fma(vec4<f32>(s02.w), x233, o03);
      o10 = fma(vec4<f32>(s12.w), x230, o10); o11 = fma(vec4<f32>(s12.w), x231, o11); o12 = fma(vec4<f32>(s12.w), x232, o12); o13 = fma(vec4<f32>(s12.w), x233, o13);
      o20 = fma(vec4<f32>(s22.w), x230, o20); o21 = fma(vec4<f32>(s22.w), x231, o21); o22 = fma(vec4<f32>(s22.w), x232, o22); o23 = fma(vec4<f32>(s22.w), x233, o23);
      o30 = fma(vec4<f32>(s32.w), x230, o30); o31 = fma(vec4<f32>(s32.w), x231, o31); o32 = fma(vec4<f32>(s32.w), x232, o32); o33 = fma(vec4<f32>(s32.w), x233, o33);
      let v30 = vec4<f32>(v[(v_base + min(key + 12u, end)) * d4 + column]);
      let v31 = vec4<f32>(v[(v_base + min(key + 13u, end)) * d4 + column]);
      let v32 = vec4<f32>(v[(v_base + min(key + 14u, end)) * d4 + column]);
      let v33 = vec4<f32>(v[(v_base + min(key + 15u, end)) * d4 + column]);
      let x300 = quadBroadcast(v30, 0u); let x301 = quadBroadcast(v30, 1u); let x302 = quadBroadcast(v30, 2u); let x303 = quadBroadcast(v30, 3u);
      o00 = fma(vec4<f32>(s03.x), x300, o00); o01 = fma(vec4<f32>(s03.x), x301, o01); o02 = fma(vec4<f32>(s03.x), x302, o02); o03 = fma(vec4<f32>(s03.x), x303, o03);
      o10 = fma(vec4<f32>(s13.x), x300, o10); o11 = fma(vec4<f32>(s13.x), x301, o11); o12 = fma(vec4<f32>(s13.x), x302, o12); o13 = fma(vec4<f32>(s13.x), x303, o13);
      o20 = fma(vec4<f32>(s23.x), x300, o20); o21 = fma(vec4<f32>(s23.x), x301, o21); o22 = fma(vec4<f32>(s23.x), x302, o22); o23 = fma(vec4<f32>(s23.x), x303, o23);
      o30 = fma(vec4<f32>(s33.x), x300, o30); o31 = fma(vec4<f32>(s33.x), x301, o31); o32 = fma(vec4<f32>(s33.x), x302, o32); o33 = fma(vec4<f32>(s33.x), x303, o33);
      let x310 = quadBroadcast(v31, 0u); let x311 = quadBroadcast(v31, 1u); let x312 = quadBroadcast(v31, 2u); let x313 = quadBroadcast(v31, 3u);
      o00 = fma(vec4<f32>(s03.y), x310, o00); o01 = fma(vec4<f32>(s03.y), x311, o01); o02 = fma(vec4<f32>(s03.y), x312, o02); o03 = fma(vec4<f32>(s03.y), x313, o03);
      o10 = fma(vec4<f32>(s13.y), x310, o10); o11 = fma(vec4<f32>(s13.y), x311, o11); o12 = fma(vec4<f32>(s13.y), x312, o12); o13 = fma(vec4<f32>(s13.y), x313, o13);
      o20 = fma(vec4<f32>(s23.y), x310, o20); o21 = fma(vec4<f32>(s23.y), x311, o21); o22 = fma(vec4<f32>(s23.y), x312, o22); o23 = fma(vec4<f32>(s23.y), x313, o23);
      o30 = fma(vec4<f32>(s33.y), x310, o30); o31 = fma(vec4<f32>(s33.y), x311, o31); o32 = fma(vec4<f32>(s33.y), x312, o32); o33 = fma(vec4<f32>(s33.y), x313, o33);
      let x320 = quadBroadcast(v32, 0u); let x321 = quadBroadcast(v32, 1u); let x322 = quadBroadcast(v32, 2u); let x323 = quadBroadcast(v32, 3u);
      o00 = fma(vec4<f32>(s03.z), x320, o00); o01 = fma(vec4<f32>(s03.z), x321, o01); o02 = fma(vec4<f32>(s03.z), x322, o02); o03 = fma(vec4<f32>(s03.z), x323, o03);
      o10 = fma(vec4<f32>(s13.z), x320, o10); o11 = fma(vec4<f32>(s13.z), x321, o11); o12 = fma(vec4<f32>(s13.z), x322, o12); o13 = fma(vec4<f32>(s13.z), x323, o13);
      o20 = fma(vec4<f32>(s23.z), x320, o20); o21 = fma(vec4<f32>(s23.z), x321, o21); o22 = fma(vec4<f32>(s23.z), x322, o22); o23 = fma(vec4<f32>(s23.z), x323, o23);
      o30 = fma(vec4<f32>(s33.z), x320, o30); o31 = fma(vec4<f32>(s33.z), x321, o31); o32 = fma(vec4<f32>(s33.z), x322, o32); o33 = fma(vec4<f32>(s33.z), x323, o33);
      let x330 = quadBroadcast(v33, 0u); let x331 = quadBroadcast(v33, 1u); let x332 = quadBroadcast(v33, 2u); let x333 = quadBroadcast(v33, 3u);
      o00 = fma(vec4<f32>(s03.w), x330, o00); o01 = fma(vec4<f32>(s03.w), x331, o01); o02 = fma(vec4<f32>(s03.w), x332, o02); o03 = fma(vec4<f32>(s03.w), x333, o03);
      o10 = fma(vec4<f32>(s13.w), x330, o10); o11 = fma(vec4<f32>(s13.w), x331, o11); o12 = fma(vec4<f32>(s13.w), x332, o12); o13 = fma(vec4<f32>(s13.w), x333, o13);
      o20 = fma(vec4<f32>(s23.w), x330, o20); o21 = fma(vec4<f32>(s23.w), x331, o21); o22 = fma(vec4<f32>(s23.w), x332, o22); o23 = fma(vec4<f32>(s23.w), x333, o23);
      o30 = fma(vec4<f32>(s33.w), x330, o30); o31 = fma(vec4<f32>(s33.w), x331, o31); o32 = fma(vec4<f32>(s33.w), x332, o32); o33 = fma(vec4<f32>(s33.w), x333, o33);
      sums[c * 16u + 0u] = o00; sums[c * 16u + 1u] = o01; sums[c * 16u + 2u] = o02; sums[c * 16u + 3u] = o03;
      sums[c * 16u + 4u] = o10; sums[c * 16u + 5u] = o11; sums[c * 16u + 6u] = o12; sums[c * 16u + 7u] = o13;
      sums[c * 16u + 8u] = o20; sums[c * 16u + 9u] = o21; sums[c * 16u + 10u] = o22; sums[c * 16u + 11u] = o23;
      sums[c * 16u + 12u] = o30; sums[c * 16u + 13u] = o31; sums[c * 16u + 14u] = o32; sums[c * 16u + 15u] = o33;
    }
  }

  let width = params.heads_total * d4;
  let out = (params.head_base + head) * d4;
  for (var c = 0u; c < CHUNKS * 4u; c++) {
    if (c < d4) {
      let from_ = (c / 4u) * 16u + c % 4u;
      if (first + 0u <= last) { y[(first + 0u - params.row_base) * width + out + c] = vec4<Y>(sums[from_ + 0u] / l0); }
      if (first + 1u <= last) { y[(first + 1u - params.row_base) * width + out + c] = vec4<Y>(sums[from_ + 4u] / l1); }
      if (first + 2u <= last) { y[(first + 2u - params.row_base) * width + out + c] = vec4<Y>(sums[from_ + 8u] / l2); }
      if (first + 3u <= last) { y[(first + 3u - params.row_base) * width + out + c] = vec4<Y>(sums[from_ + 12u] / l3); }
    }
  }
}
