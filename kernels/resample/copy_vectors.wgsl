// copy_vectors.wgsl — a run of vectors from one tensor to another
//
// Shapes    x, y: any, in vectors of 4
// Work      one lane per PER vectors, WG apart: 1 for GPUs, many for a CPU adapter, where a lane's start costs as much as some copies
// Dispatch  (ceil(count / (WG · PER)), folded, 1)
// Cost      reads and writes the run; bandwidth bound
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
override WG: u32 = 64;
override PER: u32 = 1;
struct Params { count: u32, x_base: u32, y_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<X>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = (wid.y * groups.x + wid.x) * WG * PER + lane;
  for (var i = 0u; i < PER; i++) {
    let at = first + i * WG;
    if (at < params.count) { y[params.y_base + at] = x[params.x_base + at]; }
  }
}
