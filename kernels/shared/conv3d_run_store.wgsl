// shared/conv3d_run_store.wgsl — the 16 channels of position p of a run to y
//
// Expects   `epilogue` (shared/conv3d.wgsl) · the sums `c00`, `c01`, `c02`, `c03` · `panel` of w · `row_out`, `w0`, `p`
//           `turn`: sums q are of channels 4·(turn ^ q) … of the panel

for (var q = 0u; q < 4u; q++) {
  var v = c00;
  if (q == 1u) { v = c01; }
  if (q == 2u) { v = c02; }
  if (q == 3u) { v = c03; }
  let column = panel * 4u + (turn ^ q);
  if (column * 4u < params.n) {
    let at = (row_out * params.w_out + w0 + p) * (params.n / 4u) + column;
    y[params.y_base + at] = vec4<Y>(epilogue(v, at, column));
  }
}
