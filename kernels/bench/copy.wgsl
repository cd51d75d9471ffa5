// copy.wgsl — the adapter's bandwidth: vectors from one buffer to another
//
// Shapes    x, y [count] in vectors of 4
// Work      a thread copies PER vectors, a workgroup a contiguous run of WG · PER
// Cost      reads and writes 16 bytes a vector
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const PER: u32 = 1u;
//! end
override WG: u32 = 64;
struct Params { count: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = (wid.y * groups.x + wid.x) * WG * PER + lane;
  for (var i = 0u; i < PER; i++) {
    let at = first + i * WG;
    if (at < params.count) { y[at] = x[at]; }
  }
}
