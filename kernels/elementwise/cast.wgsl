// cast.wgsl — y = x in another storage type
//
// Shapes    x, y [R], padded in memory to a multiple of 4
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
// Numerics  f32 to f16 rounds as the adapter does; what f16 cannot hold becomes infinite or its largest, by adapter
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
//! end
struct Params { count4: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  y[i] = vec4<Y>(x[i]);
}
