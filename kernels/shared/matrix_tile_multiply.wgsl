// shared/matrix_tile_multiply.wgsl — adds BK inputs, staged in workgroup memory, to a subgroup's SM × SN matrices of sums
//
// Expects   `BK`, `KK`, `SM`, `SN`, `sh`, `STRIDE`, `W_BASE` (shared/matrix_tile.wgsl) · `acc`, and the subgroup's place in the tile,
//           `part_m`, `part_n`

for (var k = 0u; k < BK / KK; k++) {
  var b: array<subgroup_matrix_right<f16, NN, KK>, SN>;
  for (var j = 0u; j < SN; j++) {
    b[j] = subgroupMatrixLoad<subgroup_matrix_right<f16, NN, KK>, col_major>(
      &sh, W_BASE + (part_n * SN + j) * NN * STRIDE + k * (KK / 8u), STRIDE);
  }
  for (var i = 0u; i < SM; i++) {
    let a = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(
      &sh, (part_m * SM + i) * MM * STRIDE + k * (KK / 8u), STRIDE);
    for (var j = 0u; j < SN; j++) { acc[i][j] = subgroupMatrixMultiplyAccumulate(a, b[j], acc[i][j]); }
  }
}
