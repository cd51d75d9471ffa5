// shared/matrix_tile_store.wgsl — row i of a subgroup's matrices of sums to workgroup memory, where any thread reads it
//
// Expects   `SGS`, `SN`, `sh`, `Y_STRIDE` (shared/matrix_tile.wgsl) · `acc`, `i`, and which `subgroup` this is; more than SGS only stage

if (subgroup < SGS) {
  for (var j = 0u; j < SN; j++) {
    subgroupMatrixStore<row_major>(&sh, subgroup * MM * Y_STRIDE + j * (NN / 4u), acc[i][j], Y_STRIDE);
  }
}
workgroupBarrier();
