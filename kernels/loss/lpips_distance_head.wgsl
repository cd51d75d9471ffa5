// lpips_distance_head.wgsl — dw of lpips_distance: the sum over positions of dy/P · (a/(|a| + ε) − b/(|b| + ε))², by channel
//
// Shapes    a, b [N, P, C] · dy [N] · inverse [N, P] as lpips_distance leaves it · sums [S, C]: of chunks of positions
// Work      one thread has a vector of channels of one chunk
// Dispatch  (ceil(C / (4·WG)) · S, folded, 1)
// Cost      reads a and b once; bandwidth bound
// Needs     C % 4 == 0
// Numerics  f32, in the order of the positions; the chunks are summed by sum_parts.wgsl
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias A = f32;
//! end
override WG: u32 = 64;
// m, first: positions bound, of all pictures, and the first of them · chunk: positions of one · part: their first chunk · share: 1/P
struct Params { m: u32, first: u32, positions: u32, c4: u32, chunk: u32, groups: u32, part: u32, share: f32 }
@group(0) @binding(1) var<storage, read> a: array<vec4<A>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<A>>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read> inverse: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> sums: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let across = (params.c4 + WG - 1u) / WG;
  let column = group % across * WG + lane;
  let part = group / across;
  let begin = part * params.chunk;
  if (column >= params.c4) { return; }
  var sum = vec4<f32>();
  for (var m = begin; m < min(begin + params.chunk, params.m); m++) {
    let inv = inverse[m];
    let d = vec4<f32>(a[m * params.c4 + column]) * inv.x - vec4<f32>(b[m * params.c4 + column]) * inv.y;
    sum += d * d * (dy[(params.first + m) / params.positions] * params.share);
  }
  sums[(params.part + part) * params.c4 + column] = sum;
}
