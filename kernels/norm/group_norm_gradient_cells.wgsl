// group_norm_gradient_cells.wgsl — gradients of a spatial norm's scale and shift, and sums of what comes before it, from those of its cells
//
// Shapes    cells [B·T, Hz, Wz, 3, C] (group_norm_gradient_sums): count, Σ g, Σ g · x̂ of one position of scale and shift in one frame
//           weight, bias [C] · scale (ONE_PLUS: 1 + scale), dscale, dshift [B·Tz, Hz, Wz, C] · first [B·Tz + 1]: the frames of each Tz
//           sums [B·Tz, S, 3, C]: count, Σ dn, Σ dn · x̂ over `run` positions of a latent frame, with dn = g · scale
// Work      one lane per slice × 4 channels; a cell's frames are added in their order
// Dispatch  (ceil(slices · C/4 / WG), folded, 1)
// Cost      reads the cells once
// Numerics  f32
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const ONE_PLUS: bool = false;
//! end
override WG: u32 = 64;
// slices of this dispatch, from the `begin` of all B·Tz frames on · per_frame: of one · plane: Hz·Wz
struct Params { slices: u32, begin: u32, per_frame: u32, plane: u32, run: u32, c4: u32, cells_base: u32 }
@group(0) @binding(1) var<storage, read> cells: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> first: array<u32>;
@group(0) @binding(6) var<storage, read_write> dscale: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dshift: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> sums: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let id = (wid.y * groups.x + wid.x) * WG + lane;
  let step = params.c4;
  if (id >= params.slices * step) { return; }
  let slice = params.begin + id / step;
  let column = id % step;
  let latent = slice / params.per_frame;
  let start = slice % params.per_frame * params.run;
  var count = 0.0;
  var sum = vec4<f32>();
  var product = vec4<f32>();
  for (var p = start; p < min(start + params.run, params.plane); p++) {
    var here = vec4<f32>();
    var here_product = vec4<f32>();
    for (var frame = first[latent]; frame < first[latent + 1u]; frame++) {
      let at = params.cells_base + (frame * params.plane + p) * 3u * step + column;
      count += cells[at].x;
      here += cells[at + step];
      here_product += cells[at + 2u * step];
    }
    let z = (latent * params.plane + p) * step + column;
    let scale_here = scale[z] + select(0.0, 1.0, ONE_PLUS);
    dshift[z] = here;
    dscale[z] = here_product * weight[column] + here * bias[column];
    sum += here * scale_here;
    product += here_product * scale_here;
  }
  let out = slice * 3u * step + column;
  sums[out] = vec4<f32>(count);
  sums[out + step] = sum;
  sums[out + 2u * step] = product;
}
