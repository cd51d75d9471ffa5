// low_rank_product.wgsl — y = upᵀ · down: what adapters add to some rows of a weight, before it is unpacked
//
// Shapes    up [rank][outs], rows from the vector `first` on, factors in them · down [taps][rank][width], in vectors of 4 inputs
//           y [rows][taps][width]
// Work      one workgroup has 16 rows × 4 inputs a lane of one tap, four ranks at a time. Rows are the workgroup's, so that of 5 loads for
//           64 multiply-adds of a lane and rank 4 are one value for all lanes, which CPU adapters load once
// Dispatch  (ceil(width / WG) · taps · ceil(rows / 16), folded, 1)
// Cost      2 · rank · 4 flops a lane and row; compute bound
// Needs     outs a multiple of 4 (checked in src/plan/unpack-weight.ts)
// Numerics  f32, ranks in their order, four at a time
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
override WG: u32 = 64;
// groups: workgroups · rows: of y · first, outs4: vectors of a row of `up`, the first of them and all · rank · taps, width: of y
struct Params { groups: u32, rows: u32, first: u32, outs4: u32, rank: u32, taps: u32, width: u32 }
@group(0) @binding(1) var<storage, read> up: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> down: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> change: array<vec4<f32>>;

// Of 4 ranks, what 4 rows from vector `at` of each on are multiplied by: a column a row.
fn factors(at: u32, r: vec4<u32>) -> mat4x4<f32> {
  let a = min(at, params.outs4 - 1u);
  let o = params.outs4;
  return transpose(mat4x4<f32>(up[r.x * o + a], up[r.y * o + a], up[r.z * o + a], up[r.w * o + a]));
}

fn put(row: u32, tap: u32, column: u32, v: vec4<f32>) {
  if (row < params.rows && column < params.width) { change[(row * params.taps + tap) * params.width + column] = v; }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let across = (params.width + WG - 1u) / WG;
  let tap = group / across % params.taps;
  let row = group / across / params.taps * 16u;
  let column = group % across * WG + lane;
  let held = min(column, params.width - 1u);
  let at = params.first + row / 4u;
  var y0: mat4x4<f32>;
  var y1: mat4x4<f32>;
  var y2: mat4x4<f32>;
  var y3: mat4x4<f32>;
  for (var k = 0u; k < params.rank; k += 4u) {
    let r = min(vec4<u32>(k, k + 1u, k + 2u, k + 3u), vec4<u32>(params.rank - 1u));
    // Ranks past the last add nothing.
    let there = select(vec4<f32>(0.0), vec4<f32>(1.0), vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(params.rank));
    let line = tap * params.rank + r;
    let inputs = mat4x4<f32>(
      there.x * down[line.x * params.width + held], there.y * down[line.y * params.width + held],
      there.z * down[line.z * params.width + held], there.w * down[line.w * params.width + held]);
    y0 += inputs * factors(at, r);
    y1 += inputs * factors(at + 1u, r);
    y2 += inputs * factors(at + 2u, r);
    y3 += inputs * factors(at + 3u, r);
  }
  for (var i = 0u; i < 4u; i++) {
    put(row + i, tap, column, y0[i]);
    put(row + 4u + i, tap, column, y1[i]);
    put(row + 8u + i, tap, column, y2[i]);
    put(row + 12u + i, tap, column, y3[i]);
  }
}
