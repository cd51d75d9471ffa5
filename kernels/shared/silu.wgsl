// shared/silu.wgsl — v · sigmoid(v)
//
// Expects   nothing
// Numerics  the exponential's argument is bounded, so that it cannot overflow

fn silu(v: vec4<f32>) -> vec4<f32> { return v / (1.0 + exp(clamp(-v, vec4<f32>(-80.0), vec4<f32>(80.0)))); }
