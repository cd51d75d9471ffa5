// relative_bias.wgsl — y[head, j] = table[bucket[j], head]: T5's position bias for every distance between key and query
//
// Shapes    table [buckets, N] · bucket [J], one a distance · y [N, J]
// Work      one thread per value; done once a model, read by every layer
// Dispatch  (ceil(N·J / 64), folded, 1)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias T = f32;
//! end
struct Params { heads: u32, distances: u32 }
@group(0) @binding(1) var<storage, read> table: array<T>;
@group(0) @binding(2) var<storage, read> bucket: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.heads * params.distances) { return; }
  y[i] = f32(table[bucket[i % params.distances] * params.heads + i / params.distances]);
}
