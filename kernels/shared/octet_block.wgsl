// shared/octet_block.wgsl — of 32 rows that the lanes of an octet hold, the 4 that lane i handed round
//
// Expects   `Eight` (shared/octet.wgsl)

// Of each of the four columns of a vector, what lane i handed round: a block of 4 × 4 sums.
fn block(c0: ptr<function, Eight>, c1: ptr<function, Eight>, c2: ptr<function, Eight>, c3: ptr<function, Eight>, i: u32) -> mat4x4<f32> {
  switch (i) {
    case 0u: { return mat4x4<f32>((*c0).r0, (*c1).r0, (*c2).r0, (*c3).r0); }
    case 1u: { return mat4x4<f32>((*c0).r1, (*c1).r1, (*c2).r1, (*c3).r1); }
    case 2u: { return mat4x4<f32>((*c0).r2, (*c1).r2, (*c2).r2, (*c3).r2); }
    case 3u: { return mat4x4<f32>((*c0).r3, (*c1).r3, (*c2).r3, (*c3).r3); }
    case 4u: { return mat4x4<f32>((*c0).r4, (*c1).r4, (*c2).r4, (*c3).r4); }
    case 5u: { return mat4x4<f32>((*c0).r5, (*c1).r5, (*c2).r5, (*c3).r5); }
    case 6u: { return mat4x4<f32>((*c0).r6, (*c1).r6, (*c2).r6, (*c3).r6); }
    default: { return mat4x4<f32>((*c0).r7, (*c1).r7, (*c2).r7, (*c3).r7); }
  }
}
