// shared/tn_tile_multiply.wgsl — one tile of a sum of outer products, from BK tokens that are staged
//
// Expects   `sh_a` and `sh_b`, the tile's tokens, AV and BV vectors each · `AV` · `BV` · `BK` · `TV`, vectors of a thread's TM columns
//           `TN` · `TX` · `TY` · `tx` · `ty` · `acc`

for (var k = 0u; k < BK / 4u; k++) {
  for (var c = 0u; c < 4u; c++) {
    var own: array<vec4<f32>, TN>;
    for (var j = 0u; j < TN; j++) { own[j] = sh_b[(k * 4u + c) * BV + j * TX + tx]; }
    for (var i = 0u; i < TV; i++) {
      let v = sh_a[(k * 4u + c) * AV + i * TY + ty];
      for (var r = 0u; r < 4u; r++) {
        for (var j = 0u; j < TN; j++) { acc[i * 4u + r][j] = fma(vec4<f32>(v[r]), own[j], acc[i * 4u + r][j]); }
      }
    }
  }
}
