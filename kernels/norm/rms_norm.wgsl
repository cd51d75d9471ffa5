// rms_norm.wgsl — y = x · rsqrt(mean(x²) + eps) · weight, along the last axis
//
// Shapes    x, y [R, C] row-major · weight [C]
// Work      one workgroup per row; WG threads stride over C as vec4; tree sum in sh_sum
// Dispatch  (R, 1, 1), folded into y above the adapter's limit
// Cost      reads x twice (the second time from cache), writes y once; ~5·R·C flops; bandwidth bound
// Needs     C % 4 == 0 (checked in src/ops/rms_norm.ts), WG a power of two
// Numerics  f32 sums for every storage type
// After     Zhang & Sennrich 2019, arXiv:1910.07467
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
//! end
override WG: u32 = 64;
struct Params { rows: u32, c4: u32, eps: f32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Y>>;

var<workgroup> sh_sum: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  if (row >= params.rows) { return; }
  let base = row * params.c4;
  var sum = vec4<f32>();
  for (var c = lane; c < params.c4; c += WG) {
    let v = vec4<f32>(x[base + c]);
    sum = fma(v, v, sum);
  }
  sh_sum[lane] = dot(sum, vec4<f32>(1.0));
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
    workgroupBarrier();
  }
  let scale = inverseSqrt(sh_sum[0] / f32(params.c4 * 4u) + params.eps);
  for (var c = lane; c < params.c4; c += WG) {
    y[base + c] = vec4<Y>(vec4<f32>(x[base + c]) * scale * weight[c]);
  }
}
