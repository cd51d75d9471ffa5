// shared/register_tile_multiply.wgsl — adds BK inputs, staged in workgroup memory, to a thread's TM × TN vectors of sums
//
// Expects   `KV`, `TM`, `TN`, `sh_x`, `sh_w` (shared/register_tile.wgsl) · `acc`, and the thread's place in the tile, `tx`, `ty`

for (var k = 0u; k < KV; k++) {
  var a: array<vec4<f32>, TM>;
  for (var i = 0u; i < TM; i++) { a[i] = sh_x[(ty + i * TY) * X_STRIDE + k]; }
  for (var j = 0u; j < TN; j++) {
    for (var c = 0u; c < 4u; c++) {
      let b = sh_w[(k * 4u + c) * W_STRIDE + j * TX + tx];
      for (var i = 0u; i < TM; i++) { acc[i][j] = fma(vec4<f32>(a[i][c]), b, acc[i][j]); }
    }
  }
}
