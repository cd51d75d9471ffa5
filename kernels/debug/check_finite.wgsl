// check_finite.wgsl — is there a NaN or an infinity in x?
//
// Shapes    x: `words` 32-bit words of f32 or of pairs of f16 · flags: one counter a node
// Work      one thread strides over the words; exponents are tested by their bits, since WGSL may assume that
//           neither NaN nor infinity exists
// Dispatch  (any, 1, 1)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const HALF: bool = false;
//! end
struct Params { words: u32, slot: u32 }
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> flags: array<atomic<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  var bad = 0u;
  for (var i = id.x; i < params.words; i += groups.x * 64u) {
    let word = x[i];
    if (HALF) {
      bad += u32((word & 0x7c00u) == 0x7c00u) + u32((word & 0x7c000000u) == 0x7c000000u);
    } else {
      bad += u32((word & 0x7f800000u) == 0x7f800000u);
    }
  }
  if (bad > 0u) { atomicAdd(&flags[params.slot], bad); }
}
