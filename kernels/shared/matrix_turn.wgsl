// shared/matrix_turn.wgsl — turns what lies by input in memory, so that it is staged as matrices are loaded: its inputs side by side
//
// Expects   nothing
// Why       A lane of AMD's matrix instructions holds a row, or a column, of 16 inputs: two loads of 16 bytes where they lie side by
//           side in workgroup memory, 16 loads of 2 bytes where they do not.

// The halves of two inputs in the lower, and in the upper, half of a word.
fn lower_pair(a: u32, b: u32) -> u32 { return bitcast<u32>(vec2<f16>(bitcast<vec2<f16>>(a).x, bitcast<vec2<f16>>(b).x)); }
fn upper_pair(a: u32, b: u32) -> u32 { return bitcast<u32>(vec2<f16>(bitcast<vec2<f16>>(a).y, bitcast<vec2<f16>>(b).y)); }

// w: of 8 inputs, 4 columns each. Of every column, its 8 inputs in a word.
fn turn(w: array<vec2<u32>, 8>) -> array<vec4<u32>, 4> {
  var columns: array<vec4<u32>, 4>;
  for (var j = 0u; j < 2u; j++) {
    columns[2u * j] = vec4<u32>(
      lower_pair(w[0][j], w[1][j]), lower_pair(w[2][j], w[3][j]), lower_pair(w[4][j], w[5][j]), lower_pair(w[6][j], w[7][j]));
    columns[2u * j + 1u] = vec4<u32>(
      upper_pair(w[0][j], w[1][j]), upper_pair(w[2][j], w[3][j]), upper_pair(w[4][j], w[5][j]), upper_pair(w[6][j], w[7][j]));
  }
  return columns;
}
