// copy_vectors.wgsl — a run of vectors from one tensor to another
//
// Shapes    x, y: any, in vectors of 4
// Work      one lane per vector
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads and writes the run; bandwidth bound
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
override WG: u32 = 64;
struct Params { count: u32, x_base: u32, y_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<X>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id < params.count) { y[params.y_base + id] = x[params.x_base + id]; }
}
