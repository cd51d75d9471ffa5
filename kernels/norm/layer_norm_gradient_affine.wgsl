// layer_norm_gradient_affine.wgsl — the gradients of a LayerNorm's weight and bias, of the sums over the tokens of each modulation
//
// Shapes    sums [n, 2, S]: Σ dy and Σ dy · x̂ over the tokens of one modulation · table [G, S], modulations [n]: the row that a
//           modulation begins in (MODULATE) · dweight, dbias [columns]: those past D are zeros
// Work      one thread a column, in the order of the modulations
// Dispatch  (ceil(columns / 64), 1, 1)
// Cost      reads sums and scales once; small
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const MODULATE: bool = false;
const ONE_PLUS: bool = true;
const SCALE_FIRST: bool = false;
//! end
struct Params { columns: u32, d: u32, stride: u32, count: u32 }
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> modulations: array<u32>;
@group(0) @binding(4) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(5) var<storage, read_write> dbias: array<f32>;

const SCALE_ROW: u32 = select(1u, 0u, SCALE_FIRST);
const UNIT: f32 = select(0.0, 1.0, ONE_PLUS);

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.columns) { return; }
  var sum = 0.0;
  var product = 0.0;
  if (i < params.d) {
    for (var m = 0u; m < params.count; m++) {
      var scale = 1.0;
      if (MODULATE) { scale = UNIT + table[(modulations[m] + SCALE_ROW) * params.stride + i]; }
      sum += scale * sums[2u * m * params.stride + i];
      product += scale * sums[(2u * m + 1u) * params.stride + i];
    }
  }
  dweight[i] = product;
  dbias[i] = sum;
}
