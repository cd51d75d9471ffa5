// muon_momentum.wgsl — Muon's momentum, and the direction that is made orthogonal: m ← m + (1 − μ)(g − m);  d = g + μ (m − g)
//
// Shapes    m, g, m_next, direction [R], padded in memory to a multiple of 4
//           control [16]: 1 the factor of g, 2 whether the step is taken, 12 is 1 − μ
// Work      one thread a vec4
// Dispatch  (ceil(R / 256), folded, 1)
// Cost      reads both once, writes two; bandwidth bound
// Numerics  f32; a step that is not taken leaves m and has the direction zero; IN_PLACE: m lies in m_next
// After     K. Jordan et al. 2024, Muon, with Nesterov's momentum
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const IN_PLACE = 0u;
//! end
struct Params { count4: u32 }
@group(0) @binding(1) var<storage, read> m: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> control: array<f32, 16>;
@group(0) @binding(4) var<storage, read_write> m_next: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> direction: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count4) { return; }
  var first: vec4<f32>;
  if (IN_PLACE == 1u) { first = m_next[i]; } else { first = m[i]; }
  var along = vec4<f32>();
  if (control[2] != 0.0) {
    let gradient = g[i] * control[1];
    first += control[12] * (gradient - first);
    along = gradient + (1.0 - control[12]) * (first - gradient);
  }
  m_next[i] = first;
  direction[i] = along;
}
