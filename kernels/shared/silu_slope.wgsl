// shared/silu_slope.wgsl — the derivative of v · sigmoid(v)
//
// Expects   nothing
// Numerics  past ±80 the sigmoid is 0 or 1, and so is the whole; the exponential cannot overflow

fn silu_slope(v: vec4<f32>) -> vec4<f32> {
  let bounded = clamp(v, vec4<f32>(-80.0), vec4<f32>(80.0));
  let s = 1.0 / (1.0 + exp(-bounded));
  return s * (1.0 + bounded * (1.0 - s));
}
