// timestep_embedding.wgsl — (cos, sin) of t over geometric frequencies
//
// Shapes    t [B] · y [B, D]: y[b, i] = cos(t·f_i), y[b, D/2 + i] = sin(t·f_i), f_i = 10000^(−i / (D/2))
//           (flip_sin_to_cos; sin first without it)
// Work      one thread a value
// Dispatch  (ceil(B·D / 64), folded, 1)
// Numerics  WGSL's own sin and cos are only good to 2⁻¹¹: the argument is reduced to ±π/4 and a polynomial taken
// After     Vaswani et al. 2017, arXiv:1706.03762; reduction after Cody & Waite 1980
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const COS_FIRST: bool = true;
//! end
struct Params { batch: u32, d: u32 }
@group(0) @binding(1) var<storage, read> t: array<f32>;
@group(0) @binding(2) var<storage, read> frequencies: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// sin(x + quarter · π/2) for |x| up to some thousands
fn sine(x: f32, quarter: i32) -> f32 {
  let n = floor(x * 0.6366197723675814 + 0.5);
  // π/2 in three parts, of which n times the first two are exact.
  let r = fma(-n, 7.549789948768648e-8, fma(-n, 4.837512969970703125e-4, fma(-n, 1.5703125, x)));
  let z = r * r;
  let s = r + r * z * (-1.6666654611e-1 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
  let c = 1.0 - 0.5 * z + z * z * (4.166664568298827e-2 + z * (-1.388731625493765e-3 + z * 2.443315711809948e-5));
  let phase = (i32(n) + quarter) & 3;
  let v = select(s, c, (phase & 1) == 1);
  return select(v, -v, phase >= 2);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.batch * params.d) { return; }
  let column = i % params.d;
  let half = params.d / 2u;
  let x = t[i / params.d] * frequencies[column % half];
  y[i] = sine(x, select(0, 1, (column < half) == COS_FIRST));
}
