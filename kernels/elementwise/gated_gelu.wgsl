// gated_gelu.wgsl — y = gelu_tanh(x[:, :F]) · x[:, F:]
//
// Shapes    x [R, 2F] row-major: gate, then value · y [R, F]
// Work      one thread per vec4 of y
// Dispatch  (ceil(R·F/4 / 64), folded, 1)
// Cost      reads x once, writes y once; ~12·R·F flops; bandwidth bound
// Needs     F % 4 == 0 (checked in src/ops/gated_gelu.ts)
// Numerics  f32; right for any finite gate: past ±20 the curve is its asymptote in f32, so the cubic is taken of a
//           bounded argument and exp cannot overflow
// After     Shazeer 2020, arXiv:2002.05202
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
//! end
struct Params { count: u32, f4: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>;

fn gelu_tanh(v: vec4<f32>) -> vec4<f32> {
  // 0.5 v (1 + tanh(u)) = v · sigmoid(2u)
  let c = clamp(v, vec4<f32>(-20.0), vec4<f32>(20.0));
  let u = 1.5957691216057308 * (c + 0.044715 * c * c * c);
  return v / (1.0 + exp(clamp(-u, vec4<f32>(-80.0), vec4<f32>(80.0))));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  let at = (i / params.f4) * 2u * params.f4 + i % params.f4;
  y[i] = vec4<Y>(gelu_tanh(vec4<f32>(x[at])) * vec4<f32>(x[at + params.f4]));
}
