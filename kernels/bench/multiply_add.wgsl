// multiply_add.wgsl — the adapter's own ceiling: independent chains of vec4 multiply-adds, no memory
//
// Shapes    y [64·groups]: one vec4 a thread, so that nothing is optimised away
// Cost      64·groups · ROUNDS · CHAINS · 4 multiply-adds
// Chains    many hide the latency of one on a GPU; few stay within a CPU's 16 vector registers
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias A = f32;
const ROUNDS: u32 = 256u;
const CHAINS: u32 = 16u;
//! end
struct Params { seed: f32 }
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let a = vec4<A>(0.999);
  let b = vec4<A>(A(params.seed));
  let x = vec4<A>(A(id.x % 64u));
  var c0 = x; var c1 = x + 1.0; var c2 = x + 2.0; var c3 = x + 3.0; var c4 = x + 4.0; var c5 = x + 5.0; var c6 = x + 6.0; var c7 = x + 7.0;
  var c8 = x - 1.0; var c9 = x - 2.0; var c10 = x - 3.0; var c11 = x - 4.0; var c12 = x - 5.0; var c13 = x - 6.0; var c14 = x - 7.0; var c15 = x - 8.0;
  for (var i = 0u; i < ROUNDS; i++) {
    c0 = fma(c0, a, b);
    if (CHAINS > 1u) { c1 = fma(c1, a, b); }
    if (CHAINS > 2u) { c2 = fma(c2, a, b); c3 = fma(c3, a, b); }
    if (CHAINS > 4u) { c4 = fma(c4, a, b); c5 = fma(c5, a, b); c6 = fma(c6, a, b); c7 = fma(c7, a, b); }
    if (CHAINS > 8u) {
      c8 = fma(c8, a, b); c9 = fma(c9, a, b); c10 = fma(c10, a, b); c11 = fma(c11, a, b);
      c12 = fma(c12, a, b); c13 = fma(c13, a, b); c14 = fma(c14, a, b); c15 = fma(c15, a, b);
    }
  }
  y[id.x] = vec4<f32>(c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11 + c12 + c13 + c14 + c15);
}
