// shared/attention_gradient_octet.wgsl — sums over walked rows, and how they are stored
//
// Expects   `Eight`, `add` (shared/octet.wgsl) · `turn` (shared/octet_turn.wgsl) · `D8`

// [part, N, ceil(R/16), D, 16] (transpose_panels.wgsl)
@group(0) @binding(8) var<storage, read> panels: array<vec4<f32>>;

// Adds 32 rows to up to 32 columns of a lane's sums: `at` the panels' first vector of the head, `four` the first rows in fours, of
// `fours`; `column` the first column, of `columns`; `eights` of columns there are.
fn add_columns(
  o0: ptr<function, Eight>, o1: ptr<function, Eight>, o2: ptr<function, Eight>, o3: ptr<function, Eight>,
  s0: ptr<function, Eight>, s1: ptr<function, Eight>, s2: ptr<function, Eight>, s3: ptr<function, Eight>,
  at: u32, four: u32, fours: u32, column: u32, columns: u32, eights: u32,
) {
  for (var g = 0u; g < 8u; g++) {
    let here = min(four + g, fours - 1u);
    let base = at + here / 4u * columns * 4u + (here & 3u);
    let a0 = panels[base + min(column, columns - 1u) * 4u];
    var a1 = a0;
    if (eights > 1u) { a1 = panels[base + min(column + 8u, columns - 1u) * 4u]; }
    var a2 = a0;
    if (eights > 2u) { a2 = panels[base + min(column + 16u, columns - 1u) * 4u]; }
    var a3 = a0;
    if (eights > 3u) { a3 = panels[base + min(column + 24u, columns - 1u) * 4u]; }
    let b = turn(s0, s1, s2, s3);
    add(o0, a0, b);
    if (eights > 1u) { add(o1, a1, b); }
    if (eights > 2u) { add(o2, a2, b); }
    if (eights > 3u) { add(o3, a3, b); }
  }
}

// 4 columns of a lane's 4 rows, a row each.
fn four_columns(
  column: u32,
  o0: ptr<function, Eight>, o1: ptr<function, Eight>, o2: ptr<function, Eight>, o3: ptr<function, Eight>,
  o4: ptr<function, Eight>, o5: ptr<function, Eight>, o6: ptr<function, Eight>, o7: ptr<function, Eight>,
  o8: ptr<function, Eight>, o9: ptr<function, Eight>, o10: ptr<function, Eight>, o11: ptr<function, Eight>,
  o12: ptr<function, Eight>, o13: ptr<function, Eight>, o14: ptr<function, Eight>, o15: ptr<function, Eight>,
) -> mat4x4<f32> {
  var o = *o0;
  switch column / 2u {
    case 1u: { if (D8 > 1u) { o = *o1; } }
    case 2u: { if (D8 > 2u) { o = *o2; } }
    case 3u: { if (D8 > 3u) { o = *o3; } }
    case 4u: { if (D8 > 4u) { o = *o4; } }
    case 5u: { if (D8 > 5u) { o = *o5; } }
    case 6u: { if (D8 > 6u) { o = *o6; } }
    case 7u: { if (D8 > 7u) { o = *o7; } }
    case 8u: { if (D8 > 8u) { o = *o8; } }
    case 9u: { if (D8 > 9u) { o = *o9; } }
    case 10u: { if (D8 > 10u) { o = *o10; } }
    case 11u: { if (D8 > 11u) { o = *o11; } }
    case 12u: { if (D8 > 12u) { o = *o12; } }
    case 13u: { if (D8 > 13u) { o = *o13; } }
    case 14u: { if (D8 > 14u) { o = *o14; } }
    case 15u: { if (D8 > 15u) { o = *o15; } }
    default: {}
  }
  if ((column & 1u) == 1u) { return transpose(mat4x4<f32>(o.r4, o.r5, o.r6, o.r7)); }
  return transpose(mat4x4<f32>(o.r0, o.r1, o.r2, o.r3));
}
