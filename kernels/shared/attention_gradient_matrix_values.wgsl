// shared/attention_gradient_matrix_values.wgsl — scores and dw of a subgroup's own rows by the walked rows, for the workgroup to read
//
// Expects   `own_a`, `own_b`, `part`, `subgroup` · w: what the sums of dw begin with
// Gives     scores and dw, behind a barrier, in sh_values (shared/attention_gradient_matrix.wgsl)

multiply(&w, &own_b, BK * STRIDE);
// Initialised explicitly: some WGSL compilers hoist the variable and clear it only once.
var s = array<array<subgroup_matrix_result<f32, NN, MM>, SM>, BK / NN>();
multiply(&s, &own_a, 0u);
// They take the place of what this subgroup alone has read, in one step with its lanes.
if (subgroup < SGS) {
  for (var j = 0u; j < BK / NN; j++) {
    for (var i = 0u; i < SM; i++) {
      let at = (part * SM + i) * MM * S_STRIDE + j * (NN / 4u);
      subgroupMatrixStore<row_major>(&sh_values, at, s[j][i], S_STRIDE);
      subgroupMatrixStore<row_major>(&sh_values, S_WORDS + at, w[j][i], S_STRIDE);
    }
  }
}
workgroupBarrier();
