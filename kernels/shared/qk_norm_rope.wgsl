// shared/qk_norm_rope.wgsl — what both kernels of qk_norm_rope have: params, operands and switches, the rotation
//
// Expects   nothing

//! specialise
alias X = f32;
const D4: u32 = 16u;
const NORM: bool = true;
const ROPE: bool = true;
const RMS: bool = false;
const IN_PLACE: bool = true;
//! end
struct Params { rows: u32, count: u32, eps: f32 }
@group(0) @binding(1) var<storage, read> q_from: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> k_from: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> norm_q: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> norm_k: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> rope: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> position: array<u32>;
@group(0) @binding(7) var<storage, read_write> q: array<vec4<X>>;
@group(0) @binding(8) var<storage, read_write> k: array<vec4<X>>;

const D: f32 = f32(D4 * 4u);

// Two pairs of channels, turned by their angles: cs has (cos, sin) of each.
fn rotate(a: vec4<f32>, cs: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(a.x * cs.x - a.y * cs.y, a.y * cs.x + a.x * cs.y, a.z * cs.z - a.w * cs.w, a.w * cs.z + a.z * cs.w);
}
