// layer_norm_gradient_table.wgsl — the gradient of a modulation's table, of the sums over the tokens of each of its rows
//
// Shapes    sums [n, 2, S]: Σ dy and Σ dy · x̂ over the tokens of one modulation · slot_of [G]: where those of the modulation that begins
//           in a row lie in sums; NONE where no token has it · weight, bias [D] (AFFINE) · dtable [G, S]: zeros in rows and columns that
//           nothing read
// Work      one thread a vec4 of dtable. A row may be the shift of some tokens and the scale of others
// Dispatch  (ceil(G · S/4 / 64), folded, 1)
// Cost      reads sums once; small
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const AFFINE: bool = false;
const SCALE_FIRST: bool = false;
//! end
struct Params { rows: u32, d: u32, stride4: u32 }
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> slot_of: array<u32>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dtable: array<vec4<f32>>;

const NONE: u32 = 0xffffffffu;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let index = (wid.y * groups.x + wid.x) * 64u + lane;
  if (index >= params.rows * params.stride4) { return; }
  let row = index / params.stride4;
  let i = index % params.stride4;
  var first = slot_of[row];
  var second = NONE;
  if (row > 0u) { second = slot_of[row - 1u]; }
  // Of which modulation this row is the shift, and of which the scale.
  let shift = select(first, second, SCALE_FIRST);
  let scale = select(second, first, SCALE_FIRST);
  var v = vec4<f32>();
  if (shift != NONE) { v += sums[2u * shift * params.stride4 + i]; }
  if (scale != NONE) {
    let sum = sums[2u * scale * params.stride4 + i];
    let product = sums[(2u * scale + 1u) * params.stride4 + i];
    if (AFFINE) { v += weight[i] * product + bias[i] * sum; } else { v += product; }
  }
  dtable[index] = select(vec4<f32>(), v, vec4<u32>(i * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.d));
}
