// shared/octet_turn.wgsl — 32 rows by fours
//
// Expects   `Eight` (shared/octet.wgsl)

// What a lane has of 4 rows, taken off the front of 32 and put back at the end.
fn turn(a: ptr<function, Eight>, b: ptr<function, Eight>, c: ptr<function, Eight>, d: ptr<function, Eight>) -> mat4x4<f32> {
  let m = mat4x4<f32>((*a).r0, (*a).r1, (*a).r2, (*a).r3);
  (*a).r0 = (*a).r4; (*a).r1 = (*a).r5; (*a).r2 = (*a).r6; (*a).r3 = (*a).r7;
  (*a).r4 = (*b).r0; (*a).r5 = (*b).r1; (*a).r6 = (*b).r2; (*a).r7 = (*b).r3;
  (*b).r0 = (*b).r4; (*b).r1 = (*b).r5; (*b).r2 = (*b).r6; (*b).r3 = (*b).r7;
  (*b).r4 = (*c).r0; (*b).r5 = (*c).r1; (*b).r6 = (*c).r2; (*b).r7 = (*c).r3;
  (*c).r0 = (*c).r4; (*c).r1 = (*c).r5; (*c).r2 = (*c).r6; (*c).r3 = (*c).r7;
  (*c).r4 = (*d).r0; (*c).r5 = (*d).r1; (*c).r6 = (*d).r2; (*c).r7 = (*d).r3;
  (*d).r0 = (*d).r4; (*d).r1 = (*d).r5; (*d).r2 = (*d).r6; (*d).r3 = (*d).r7;
  (*d).r4 = m[0]; (*d).r5 = m[1]; (*d).r6 = m[2]; (*d).r7 = m[3];
  return m;
}
