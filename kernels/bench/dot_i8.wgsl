// dot_i8.wgsl — the adapter's ceiling in 8-bit integers: 16 independent chains of dot4I8Packed, no memory
//
// Shapes    y [64·groups]: one vec4 a thread, so that nothing is optimised away
// Cost      64·groups · ROUNDS · 16 · 4 multiply-adds
// Needs     the language feature packed_4x8_integer_dot_product
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const ROUNDS: u32 = 256u;
//! end
struct Params { seed: u32 }
@group(0) @binding(1) var<storage, read_write> y: array<vec4<i32>>;

// One step of four chains. Each goes on from its own sum, so no two steps can be made one.
fn step(c: vec4<i32>, b: u32) -> vec4<i32> {
  let a = bitcast<vec4<u32>>(c);
  return c + vec4<i32>(dot4I8Packed(a.x, b), dot4I8Packed(a.y, b), dot4I8Packed(a.z, b), dot4I8Packed(a.w, b));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let b = params.seed;
  let x = vec4<i32>(i32(id.x));
  var c0 = x; var c1 = x + 1; var c2 = x + 2; var c3 = x + 3;
  for (var i = 0u; i < ROUNDS; i++) {
    c0 = step(c0, b); c1 = step(c1, b); c2 = step(c2, b); c3 = step(c3, b);
  }
  y[id.x] = c0 + c1 + c2 + c3;
}
