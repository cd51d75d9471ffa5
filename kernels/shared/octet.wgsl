// shared/octet.wgsl — outer products among 8 lanes: each holds a vector that is handed round to all
//
// Expects   nothing, but subgroups of 8 lanes or a multiple

// Of each of 8 rows that the lanes hold between them, a vector of the lane's own columns.
struct Eight { r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>, r4: vec4<f32>, r5: vec4<f32>, r6: vec4<f32>, r7: vec4<f32> }

// Adds 4 products each: lane i has the vector of row i in `a`, every lane what its own columns multiply it by in `b`.
fn add(c: ptr<function, Eight>, a: vec4<f32>, b: mat4x4<f32>) {
  (*c).r0 += b * subgroupBroadcast(a, 0u);
  (*c).r1 += b * subgroupBroadcast(a, 1u);
  (*c).r2 += b * subgroupBroadcast(a, 2u);
  (*c).r3 += b * subgroupBroadcast(a, 3u);
  (*c).r4 += b * subgroupBroadcast(a, 4u);
  (*c).r5 += b * subgroupBroadcast(a, 5u);
  (*c).r6 += b * subgroupBroadcast(a, 6u);
  (*c).r7 += b * subgroupBroadcast(a, 7u);
}
