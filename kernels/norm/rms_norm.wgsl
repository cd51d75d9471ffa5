// rms_norm.wgsl — y = x · rsqrt(mean(x²) + eps) · weight, along the last axis
//
// Shapes    x, y [R, C] row-major · weight [C]
// Work      one workgroup per row; each of WG threads holds PER vectors of it in registers, WG apart, so that x is read once and
//           a load of all threads is one contiguous run. The sum is two steps: 16 partial sums in workgroup memory, then all of
//           them in each thread, 2 barriers.
// Dispatch  (R, 1, 1), folded into y above the adapter's limit
// Cost      reads x once, writes y once; ~5·R·C flops; bandwidth bound
// Registers 4·PER for the row, some 16 besides: PER ≤ 4 at the widths that models have
// Needs     C % 4 == 0 (checked in src/ops/rms_norm.ts), PER · WG vectors hold a row, WG a multiple of 16
// Numerics  f32 sums for every storage type
// After     Zhang & Sennrich 2019, arXiv:1910.07467
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
const WG: u32 = 64u;
const PER: u32 = 4u;
//! end
struct Params { rows: u32, c4: u32, eps: f32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Y>>;

var<workgroup> sh_value: array<f32, WG>;
var<workgroup> sh_part: array<f32, 16>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = wid.y * groups.x + wid.x;
  if (row >= params.rows) { return; }
  let base = row * params.c4;
  var held: array<vec4<f32>, PER>;
  var sum = vec4<f32>();
  for (var j = 0u; j < PER; j++) {
    let c = lane + j * WG;
    held[j] = vec4<f32>();
    if (c < params.c4) { held[j] = vec4<f32>(x[base + c]); }
    sum = fma(held[j], held[j], sum);
  }
  sh_value[lane] = dot(sum, vec4<f32>(1.0));
  workgroupBarrier();
  if (lane < 16u) {
    var part = 0.0;
    for (var i = lane; i < WG; i += 16u) { part += sh_value[i]; }
    sh_part[lane] = part;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < 16u; i++) { total += sh_part[i]; }
  let scale = inverseSqrt(total / f32(params.c4 * 4u) + params.eps);
  for (var j = 0u; j < PER; j++) {
    let c = lane + j * WG;
    if (c < params.c4) { y[base + c] = vec4<Y>(held[j] * scale * weight[c]); }
  }
}
