// multiply_add_peak.wgsl — the adapter's ceiling: CHAINS independent chains of vec4 multiply-adds, four rounds unrolled, no memory
//
// Shapes    y [64·groups]: one vec4 a thread, so that nothing is optimised away
// Cost      64·groups · ROUNDS · 4 · CHAINS · 4 multiply-adds
// Chains    2, 3, 4, 6, 8 or 16. A GPU hides a multiply-add's latency behind other threads or behind many chains, a CPU
//           adapter keeps them in its 16 vector registers; the bench takes the best.
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias A = f32;
const ROUNDS: u32 = 256u;
const CHAINS: u32 = 8u;
//! end
struct Params { seed: f32 }
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

alias V = vec4<A>;
// Not a power of two and not one: neither the loop nor a round can be folded into a formula.
fn m(c: V, b: V) -> V { return fma(fma(fma(fma(c, V(0.999), b), V(0.998), b), V(0.997), b), V(0.996), b); }

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let b = V(A(params.seed));
  let x = V(A(id.x % 64u));
  var c0 = x; var c1 = x + 1.0; var c2 = x + 2.0; var c3 = x + 3.0; var c4 = x + 4.0; var c5 = x + 5.0; var c6 = x + 6.0; var c7 = x + 7.0;
  var c8 = x - 1.0; var c9 = x - 2.0; var c10 = x - 3.0; var c11 = x - 4.0;
  var c12 = x - 5.0; var c13 = x - 6.0; var c14 = x - 7.0; var c15 = x - 8.0;
  for (var i = 0u; i < ROUNDS; i++) {
    c0 = m(c0, b); c1 = m(c1, b);
    if (CHAINS > 2u) { c2 = m(c2, b); }
    if (CHAINS > 3u) { c3 = m(c3, b); }
    if (CHAINS > 4u) { c4 = m(c4, b); c5 = m(c5, b); }
    if (CHAINS > 6u) { c6 = m(c6, b); c7 = m(c7, b); }
    if (CHAINS > 8u) {
      c8 = m(c8, b); c9 = m(c9, b); c10 = m(c10, b); c11 = m(c11, b);
      c12 = m(c12, b); c13 = m(c13, b); c14 = m(c14, b); c15 = m(c15, b);
    }
  }
  y[id.x] = vec4<f32>(c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11 + c12 + c13 + c14 + c15);
}
