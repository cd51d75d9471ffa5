// adamw.wgsl — one step of AdamW, with decoupled decay and bias correction
//
//   p ← p · keep;  m ← m + (1 − β₁)(g − m);  v ← β₂ v + (1 − β₂) g²;  p ← p + step · m / (√v · root + eps)
//
// Shapes    p, m, v, g, p_next, m_next, v_next [R], padded in memory to a multiple of 4
//           control [16] as gradient_norm.wgsl gives it: 1 the factor of g, 2 whether the step is taken, then 4 keep = 1 − lr · decay,
//           5 1 − β₁, 6 β₂, 7 1 − β₂, 8 root = 1 / √(1 − β₂ᵗ), 9 eps, 10 step = −lr / (1 − β₁ᵗ), all computed in float64
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads four tensors, writes three; bandwidth bound
// Numerics  f32; IN_PLACE: p, m and v lie where their next values do, and a step that is not taken writes nothing
// After     torch.optim.AdamW; Loshchilov & Hutter 2019, arXiv:1711.05101
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const IN_PLACE = 0u;
//! end
struct Params { count4: u32 }
@group(0) @binding(1) var<storage, read> p: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> m: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> control: array<f32, 16>;
@group(0) @binding(6) var<storage, read_write> p_next: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> m_next: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> v_next: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  let taken = control[2] != 0.0;
  var weight: vec4<f32>;
  var first: vec4<f32>;
  var second: vec4<f32>;
  if (IN_PLACE == 1u) {
    if (!taken) { return; }
    weight = p_next[i];
    first = m_next[i];
    second = v_next[i];
  } else {
    weight = p[i];
    first = m[i];
    second = v[i];
  }
  if (taken) {
    let gradient = g[i] * control[1];
    weight *= control[4];
    first += control[5] * (gradient - first);
    second = control[6] * second + control[7] * gradient * gradient;
    weight += control[10] * (first / (sqrt(second) * control[8] + control[9]));
  }
  p_next[i] = weight;
  m_next[i] = first;
  v_next[i] = second;
}
