// conv3d_weight_sums.wgsl — the gradient of a convolution's weight in the weight's own layout, from sums over pieces of the positions
//
// Shapes    x [slots][N][taps][padded], `padded` ≥ Cin · y [N, Cin, KT, KH, KW]
// Work      one thread a channel of x and of y: neighbours read neighbours, and each writes its taps
// Dispatch  (ceil(N · Cin / WG), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Numerics  f32, in the order of the slots
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
// y holds the sums over the slots of the dispatches before.
const ACCUMULATE: bool = false;
//! end
override WG: u32 = 64;
// count: N · Cin · slots: of x · part: values of one
struct Params { count: u32, cin: u32, padded: u32, taps: u32, slots: u32, part: u32 }
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * WG + lane;
  if (i >= params.count) { return; }
  let here = i / params.cin * params.taps * params.padded + i % params.cin;
  for (var tap = 0u; tap < params.taps; tap++) {
    var sum = 0.0;
    if (ACCUMULATE) { sum = y[i * params.taps + tap]; }
    for (var s = 0u; s < params.slots; s++) { sum += x[s * params.part + here + tap * params.padded]; }
    y[i * params.taps + tap] = sum;
  }
}
