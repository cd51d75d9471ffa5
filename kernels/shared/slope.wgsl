// shared/slope.wgsl — what the gradients of activations have: dx from x and dy, value by value
//
// Expects   nothing
// Numerics  IN_PLACE: dy lies in dx

//! specialise
alias X = f32;
alias G = f32;
alias Y = f32;
const IN_PLACE = 0u;
//! end
struct Params { count4: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<Y>>;

fn given(i: u32) -> vec4<f32> {
  if (IN_PLACE == 1u) { return vec4<f32>(dx[i]); }
  return vec4<f32>(dy[i]);
}
