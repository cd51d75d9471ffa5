// accumulate.wgsl — y = sum + x, or x where there is nothing before
//
// Shapes    sum, x, y [R], padded in memory to a multiple of 4 · begun [4]: 0 is 1 where `sum` holds something, else 0
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads both once, writes once; bandwidth bound
// Numerics  f32; what `sum` held is not read where nothing was begun, for it may be NaN; IN_PLACE: sum lies in y
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
const IN_PLACE = 0u;
//! end
struct Params { count4: u32 }
@group(0) @binding(1) var<storage, read> sum: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(3) var<storage, read> begun: array<f32, 4>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  var value = vec4<f32>(x[i]);
  if (begun[0] != 0.0) {
    if (IN_PLACE == 1u) { value = y[i] + value; } else { value = sum[i] + value; }
  }
  y[i] = value;
}
