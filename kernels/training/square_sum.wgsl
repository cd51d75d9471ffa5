// square_sum.wgsl — partial sums of x², added to those of what came before, and counts of values that are not finite
//
// Shapes    x [R], padded in memory to a multiple of 4 · before, y [2, P]: sums, counts
// Work      one lane a partial: it strides over vec4s of x, P apart, in order. So many partials keep a GPU busy, and chained
//           over tensors the sum of all of them has a fixed order without atomics.
// Dispatch  (ceil(min(P, ceil(count / 4)) / 64) or, where every partial is to be written, ceil(P / 64), 1, 1)
// Cost      reads x once; bandwidth bound
// Numerics  f32; what lies behind the last value is left out
//           exponents are tested by their bits, since WGSL may assume that neither NaN nor infinity exists
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
// first: the partial of the first vector · start: 0 from zeros, 1 from `before`, 2 from what y holds
struct Params { count: u32, lanes: u32, partials: u32, first: u32, start: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> before: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.lanes) { return; }
  let lane = (params.first + id.x) % params.partials;
  var sum = 0.0;
  var bad = 0.0;
  if (params.start == 1u) {
    sum = before[lane];
    bad = before[params.partials + lane];
  } else if (params.start == 2u) {
    sum = y[lane];
    bad = y[params.partials + lane];
  }
  for (var i = id.x; 4u * i < params.count; i += params.partials) {
    let there = 4u * i + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.count);
    let bits = select(vec4<u32>(), x[i], there);
    let finite = (bits & vec4<u32>(0x7f800000u)) != vec4<u32>(0x7f800000u);
    let value = bitcast<vec4<f32>>(select(vec4<u32>(), bits, finite));
    sum += dot(value, value);
    bad += dot(select(vec4<f32>(1.0), vec4<f32>(), finite), vec4<f32>(1.0));
  }
  y[lane] = sum;
  y[params.partials + lane] = bad;
}
