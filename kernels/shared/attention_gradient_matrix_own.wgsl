// shared/attention_gradient_matrix_own.wgsl — the own rows of two operands, from workgroup memory into registers
//
// Expects   `sh_values` (shared/attention_gradient_matrix.wgsl) · `part`
// Gives     own_a, own_b

workgroupBarrier();
var own_a: array<array<subgroup_matrix_left<f16, KK, MM>, DK>, SM>;
var own_b: array<array<subgroup_matrix_left<f16, KK, MM>, DK>, SM>;
for (var i = 0u; i < SM; i++) {
  for (var d = 0u; d < DK; d++) {
    let at = (part * SM + i) * MM * STRIDE + d * (KK / 8u);
    own_a[i][d] = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(&sh_values, at, STRIDE);
    own_b[i][d] = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(&sh_values, S_WORDS + at, STRIDE);
  }
}
workgroupBarrier();
