// add_noise.wgsl — x_t = signal · x + sigma · noise, with the coefficients of a row's clip
//
// Shapes    x, noise, y [R, C] · rows [R]: a row's clip · table [clips, 4]: signal, sigma, and what velocity_loss.wgsl reads
// Work      one thread a value
// Dispatch  (ceil(R · C / 64), folded, 1)
// Cost      reads both once, writes once; bandwidth bound
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
struct Params { count: u32, width: u32, first: u32 }
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> noise: array<f32>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(4) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  let c = table[rows[params.first + i / params.width]];
  y[i] = c.x * x[i] + c.y * noise[i];
}
