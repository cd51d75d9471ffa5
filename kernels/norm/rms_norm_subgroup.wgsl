// rms_norm_subgroup.wgsl — y = x · rsqrt(mean(x²) + eps) · weight along the last axis, for CPU adapters
//
// Shapes    x, y [R, C] row-major · weight [C]
// Work      one subgroup takes ROWS rows, its lanes stride over their vectors; no barrier, no workgroup memory. Each row is read
//           once for its sum and once more, from the cache, for the result; weight is read once for all of them.
// Dispatch  (ceil(R / 4), folded, 1)
// Cost      reads x, writes y once; ~5·R·C flops
// Needs     C % 4 == 0 (checked in src/ops/rms_norm.ts), subgroups of WG lanes, all of one size
// Numerics  f32 sums for every storage type
// After     Zhang & Sennrich 2019, arXiv:1910.07467
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
//! end
override WG: u32 = 8;
const ROWS: u32 = 4;
struct Params { rows: u32, c4: u32, eps: f32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Y>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = (wid.y * groups.x + wid.x) * ROWS;
  if (first >= params.rows) { return; }
  let count = min(ROWS, params.rows - first);
  var scales = vec4<f32>();
  for (var r = 0u; r < count; r++) {
    let base = (first + r) * params.c4;
    var sum = vec4<f32>();
    for (var c = lane; c < params.c4; c += WG) {
      let v = vec4<f32>(x[base + c]);
      sum = fma(v, v, sum);
    }
    let scale = inverseSqrt(subgroupAdd(dot(sum, vec4<f32>(1.0))) / f32(params.c4 * 4u) + params.eps);
    scales = select(scales, vec4<f32>(scale), vec4<u32>(r) == vec4<u32>(0u, 1u, 2u, 3u));
  }
  for (var c = lane; c < params.c4; c += WG) {
    let gain = weight[c];
    let at = first * params.c4 + c;
    y[at] = vec4<Y>(vec4<f32>(x[at]) * scales.x * gain);
    if (count > 1u) { y[at + params.c4] = vec4<Y>(vec4<f32>(x[at + params.c4]) * scales.y * gain); }
    if (count > 2u) { y[at + 2u * params.c4] = vec4<Y>(vec4<f32>(x[at + 2u * params.c4]) * scales.z * gain); }
    if (count > 3u) { y[at + 3u * params.c4] = vec4<Y>(vec4<f32>(x[at + 3u * params.c4]) * scales.w * gain); }
  }
}
