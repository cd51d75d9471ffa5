// shared/head_sum.wgsl — sums over the lanes of a head, for two numbers at a time
//
// Expects   `D4` lanes a head, `WG` in all

var<workgroup> sh_sum: array<vec2<f32>, WG>;

fn head_sum(value: vec2<f32>, lane: u32) -> vec2<f32> {
  workgroupBarrier();
  sh_sum[lane] = value;
  workgroupBarrier();
  var total = vec2<f32>();
  let first = (lane / D4) * D4;
  for (var i = 0u; i < D4; i++) { total += sh_sum[first + i]; }
  return total;
}
