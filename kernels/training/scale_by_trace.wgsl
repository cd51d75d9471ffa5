// scale_by_trace.wgsl — y = x · sᵖ with s = 1 / (√trace(gram) + 1e-7): the trace of d·dᵀ is the squared norm of d
//
// Shapes    x, y [R], padded in memory to a multiple of 4 · gram [N, N], of rows of `stride`
// Work      every workgroup adds up the diagonal, in a fixed order, then each thread scales PER vec4s
// Dispatch  (ceil(R / (256 · PER)), folded, 1)
// Cost      reads x once and N values a workgroup, writes y once; bandwidth bound
// Numerics  f32; p is 1 for d and 2 for gram itself
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
const WG = 64u;
const PER = 16u;
struct Params { count4: u32, n: u32, stride: u32, squared: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gram: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

var<workgroup> sh_sum: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var part = 0.0;
  for (var i = lane; i < params.n; i += WG) { part += gram[i * (params.stride + 1u)]; }
  sh_sum[lane] = part;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
    workgroupBarrier();
  }
  var scale = 1.0 / (sqrt(max(sh_sum[0], 0.0)) + 1e-7);
  if (params.squared == 1u) { scale *= scale; }
  let base = (wid.y * groups.x + wid.x) * WG * PER;
  for (var j = 0u; j < PER; j++) {
    let i = base + j * WG + lane;
    if (i < params.count4) { y[i] = x[i] * scale; }
  }
}
