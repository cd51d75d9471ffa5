// frame_sums.wgsl — each frame of y is the sum of a run of frames of x, times a factor; zeros where the run is empty
//
// Shapes    x [frames', P] · y [frames, P], of all batch entries, in vectors of 4 · runs [frames, 3]: the first frame of x, how many, and
//           the factor's bits
// Work      one lane per vector of y; the frames of a run are added in their order
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads what is summed, writes y once; bandwidth bound
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
override WG: u32 = 64;
// count: vectors of y of this dispatch, from the `first` on · plane: vectors of a frame
struct Params { count: u32, first: u32, plane: u32, x_base: u32, y_base: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> runs: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<X>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  if (id >= params.count) { return; }
  let at = params.first + id;
  let frame = at / params.plane;
  let within = params.x_base + at % params.plane;
  let run = runs[3u * frame];
  var sum = vec4<f32>();
  for (var i = 0u; i < runs[3u * frame + 1u]; i++) { sum += vec4<f32>(x[within + (run + i) * params.plane]); }
  y[params.y_base + at] = vec4<X>(sum * bitcast<f32>(runs[3u * frame + 2u]));
}
