// shared/attention_gradient_matrix_turn.wgsl — of eight walked rows two neighbouring columns, a word each
//
// Expects   `sh_walk`, `sh_turned` (shared/attention_gradient_matrix.wgsl) · `lane`

for (var i = 0u; i < T_LOADS; i++) {
  let at = lane + i * WG;
  // The minima change nothing: compilers that see the bounds leave out their own, and fold constants into the addresses.
  let column = min(at % (D / 2u), D / 2u - 1u);
  let n = min(at / (D / 2u), EIGHTS - 1u);
  let from_ = n * 8u * STRIDE + column / 4u;
  let word = min(column % 4u, 3u);
  let to = column * 2u * T_STRIDE + n;
  if (T_COUNT % WG == 0u || at < T_COUNT) {
    var pairs: array<vec2<f16>, 8>;
    for (var e = 0u; e < 8u; e++) { pairs[e] = bitcast<vec2<f16>>(sh_walk[from_ + e * STRIDE][word]); }
    var low: vec4<u32>;
    var high: vec4<u32>;
    for (var e = 0u; e < 4u; e++) {
      low[e] = bitcast<u32>(vec2<f16>(pairs[2u * e].x, pairs[2u * e + 1u].x));
      high[e] = bitcast<u32>(vec2<f16>(pairs[2u * e].y, pairs[2u * e + 1u].y));
    }
    sh_turned[to] = low;
    sh_turned[to + T_STRIDE] = high;
  }
}
