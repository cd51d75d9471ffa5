// shared/matrix_turn.wgsl — stages what lies by input in memory as matrices are loaded: by row, its inputs side by side
//
// Expects   `sh`, `STRIDE` (shared/matrix_tile.wgsl)
// Why       A lane of AMD's matrix instructions holds a row, or a column, of 16 inputs: two loads of 16 bytes where they lie side by
//           side in workgroup memory, 16 loads of 2 bytes where they do not.

// The halves of two inputs in the lower, and in the upper, half of a word.
fn lower_pair(a: u32, b: u32) -> u32 { return bitcast<u32>(vec2<f16>(bitcast<vec2<f16>>(a).x, bitcast<vec2<f16>>(b).x)); }
fn upper_pair(a: u32, b: u32) -> u32 { return bitcast<u32>(vec2<f16>(bitcast<vec2<f16>>(a).y, bitcast<vec2<f16>>(b).y)); }

// w: of 8 inputs, 8 rows each. They become 8 words from `to` on, STRIDE apart.
fn turn(to: u32, w: array<vec4<u32>, 8>) {
  for (var j = 0u; j < 4u; j++) {
    sh[to + 2u * j * STRIDE] = vec4<u32>(
      lower_pair(w[0][j], w[1][j]), lower_pair(w[2][j], w[3][j]), lower_pair(w[4][j], w[5][j]), lower_pair(w[6][j], w[7][j]));
    sh[to + (2u * j + 1u) * STRIDE] = vec4<u32>(
      upper_pair(w[0][j], w[1][j]), upper_pair(w[2][j], w[3][j]), upper_pair(w[4][j], w[5][j]), upper_pair(w[6][j], w[7][j]));
  }
}
