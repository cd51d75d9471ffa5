// shared/qk_norm_rope_gradient.wgsl — what both kernels of qk_norm_rope_gradient have: params, operands and switches, the rotation back
//
// Expects   nothing

//! specialise
alias X = f32;
alias G = f32;
const D4: u32 = 16u;
const NORM: bool = true;
const ROPE: bool = true;
const RMS: bool = false;
const SUMS: bool = false;
const IN_PLACE: bool = false;
//! end
struct Params { rows: u32, count: u32, span: u32, first_part: u32, eps: f32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> rope: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> position: array<u32>;
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<X>>;
@group(0) @binding(7) var<storage, read_write> parts: array<vec4<f32>>;

const D: f32 = f32(D4 * 4u);

// The gradient with respect to what was rotated: two pairs of channels, turned back by their angles.
fn turned_back(at: u32, turn: u32, c: u32) -> vec4<f32> {
  var a: vec4<f32>;
  if (IN_PLACE) { a = vec4<f32>(dx[at + c]); } else { a = vec4<f32>(dy[at + c]); }
  if (!ROPE) { return a; }
  let cs = rope[turn + c];
  return vec4<f32>(a.x * cs.x + a.y * cs.y, a.y * cs.x - a.x * cs.y, a.z * cs.z + a.w * cs.w, a.w * cs.z - a.z * cs.w);
}
