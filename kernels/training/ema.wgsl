// ema.wgsl — an exponential moving average: average ← average + (1 − decay)(p − average)
//
// Shapes    average, p, next [R], padded in memory to a multiple of 4 · control [16]: 2 whether the step is taken, 11 is 1 − decay
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads both once, writes once; bandwidth bound
// Numerics  f32; IN_PLACE: the average lies where its next value does, and a step that is not taken writes nothing
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const IN_PLACE = 0u;
//! end
struct Params { count4: u32 }
@group(0) @binding(1) var<storage, read> average: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> p: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> control: array<f32, 16>;
@group(0) @binding(4) var<storage, read_write> next: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  let rate = select(0.0, control[11], control[2] != 0.0);
  var before: vec4<f32>;
  if (IN_PLACE == 1u) {
    if (control[2] == 0.0) { return; }
    before = next[i];
  } else {
    before = average[i];
  }
  next[i] = before + rate * (p[i] - before);
}
