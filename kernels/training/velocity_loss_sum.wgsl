// velocity_loss_sum.wgsl — each clip's loss: the sum of its rows' parts
//
// Shapes    part, rows [R] · loss [clips]
// Work      one workgroup a clip; threads stride over all rows and take those of the clip, in order, then a tree
// Dispatch  (clips, folded, 1)
// Cost      reads clips · R rows, which are few beside the values that they stand for
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
const WG = 64u;
struct Params { rows: u32, clips: u32 }
@group(0) @binding(1) var<storage, read> part: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

var<workgroup> sh_sum: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let clip = wid.y * groups.x + wid.x;
  if (clip >= params.clips) { return; }
  var sum = 0.0;
  for (var i = lane; i < params.rows; i += WG) {
    if (rows[i] == clip) { sum += part[i]; }
  }
  sh_sum[lane] = sum;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { sh_sum[lane] += sh_sum[lane + half]; }
    workgroupBarrier();
  }
  if (lane == 0u) { loss[clip] = sh_sum[0]; }
}
