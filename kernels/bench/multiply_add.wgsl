// multiply_add.wgsl — a mark: 16 independent chains of vec4 multiply-adds in a plain loop, no memory
//
// Shapes    y [64·groups]: one vec4 a thread, so that nothing is optimised away
// Cost      64·groups · ROUNDS · 16 · 4 multiply-adds
// Not       the adapter's peak: a CPU adapter's 16 vector registers do not hold the chains, and its compiler does not unroll
//           the loop. The figures to reach are shares of this mark; multiply_add_peak.wgsl is the ceiling.
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const ROUNDS: u32 = 256u;
//! end
struct Params { seed: f32 }
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let a = vec4<f32>(0.999);
  let b = vec4<f32>(params.seed);
  let x = vec4<f32>(f32(id.x));
  var c0 = x; var c1 = x + 1.0; var c2 = x + 2.0; var c3 = x + 3.0; var c4 = x + 4.0; var c5 = x + 5.0; var c6 = x + 6.0; var c7 = x + 7.0;
  var c8 = x - 1.0; var c9 = x - 2.0; var c10 = x - 3.0; var c11 = x - 4.0;
  var c12 = x - 5.0; var c13 = x - 6.0; var c14 = x - 7.0; var c15 = x - 8.0;
  for (var i = 0u; i < ROUNDS; i++) {
    c0 = fma(c0, a, b); c1 = fma(c1, a, b); c2 = fma(c2, a, b); c3 = fma(c3, a, b);
    c4 = fma(c4, a, b); c5 = fma(c5, a, b); c6 = fma(c6, a, b); c7 = fma(c7, a, b);
    c8 = fma(c8, a, b); c9 = fma(c9, a, b); c10 = fma(c10, a, b); c11 = fma(c11, a, b);
    c12 = fma(c12, a, b); c13 = fma(c13, a, b); c14 = fma(c14, a, b); c15 = fma(c15, a, b);
  }
  y[id.x] = c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11 + c12 + c13 + c14 + c15;
}
