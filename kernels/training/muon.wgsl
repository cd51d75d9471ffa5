// muon.wgsl — p ← p · keep + step · scale · update, for an update that was made orthogonal
//
// Shapes    p, update, next [R], padded in memory to a multiple of 4
//           control [16]: 2 whether the step is taken, 4 keep = 1 − lr · decay, 13 −lr
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads both once, writes once; bandwidth bound
// Numerics  f32; IN_PLACE: p lies in next, and a step that is not taken writes nothing
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const IN_PLACE = 0u;
//! end
struct Params { count4: u32, scale: f32 }
@group(0) @binding(1) var<storage, read> p: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> update: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> control: array<f32, 16>;
@group(0) @binding(4) var<storage, read_write> next: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  let taken = control[2] != 0.0;
  var weight: vec4<f32>;
  if (IN_PLACE == 1u) {
    if (!taken) { return; }
    weight = next[i];
  } else {
    weight = p[i];
  }
  if (taken) { weight = weight * control[4] + (control[13] * params.scale) * update[i]; }
  next[i] = weight;
}
