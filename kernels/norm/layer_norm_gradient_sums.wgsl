// layer_norm_gradient_sums.wgsl — Σ dy and Σ dy · x̂ over some rows of one modulation, x̂ the normalised row
//
// Shapes    x, dy [R, S] · statistics [R]: mean and reciprocal deviation · row_of [R] (GROUPED)
//           tasks [n]: of the rows begin ≤ r < end those with row_of[r] = modulation, which need not be contiguous; all without GROUPED
//           parts [slots, 2, S]: Σ dy, then Σ dy · x̂ of a task's rows
// Work      a thread has PER vectors of columns, WG apart, and goes through the task's rows in order
// Dispatch  (n · ceil(S/4 / (WG · PER)), folded, 1)
// Cost      reads x and dy once; bandwidth bound
// Numerics  f32, in the order of the rows; the parts of a modulation are summed by sum_groups.wgsl
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias G = f32;
const PER: u32 = 1u;
const GROUPED: bool = false;
//! end
override WG: u32 = 64;
struct Params { tasks: u32, columns4: u32 }
struct Task { begin: u32, end: u32, modulation: u32, slot: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> row_of: array<u32>;
@group(0) @binding(5) var<storage, read> tasks: array<Task>;
@group(0) @binding(6) var<storage, read_write> parts: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let blocks = (params.columns4 + WG * PER - 1u) / (WG * PER);
  let block = wid.y * groups.x + wid.x;
  if (block / blocks >= params.tasks) { return; }
  let task = tasks[block / blocks];
  let first = (block % blocks) * WG * PER + lane;
  var sums: array<vec4<f32>, PER>;
  var products: array<vec4<f32>, PER>;
  for (var j = 0u; j < PER; j++) {
    sums[j] = vec4<f32>();
    products[j] = vec4<f32>();
  }
  for (var row = task.begin; row < task.end; row++) {
    if (GROUPED) {
      if (row_of[row] != task.modulation) { continue; }
    }
    let s = statistics[row];
    let base = row * params.columns4;
    for (var j = 0u; j < PER; j++) {
      // Past the last column the last once more: nothing is stored of it.
      let i = base + min(first + j * WG, params.columns4 - 1u);
      let g = vec4<f32>(dy[i]);
      sums[j] += g;
      products[j] = fma(g, (vec4<f32>(x[i]) - s.x) * s.y, products[j]);
    }
  }
  for (var j = 0u; j < PER; j++) {
    let i = first + j * WG;
    if (i < params.columns4) {
      parts[2u * task.slot * params.columns4 + i] = sums[j];
      parts[(2u * task.slot + 1u) * params.columns4 + i] = products[j];
    }
  }
}
