// subgroup_matrix.wgsl — the ceiling of an adapter's matrix units: four independent chains of subgroup-matrix multiply-adds, no memory
//
// Shapes    a [K·M or K·N] f16, loaded once · y: four M×N results a subgroup, so that nothing is optimised away
// Cost      groups · (WG / subgroup size) · ROUNDS · 4 · M·N·K multiply-adds
// Needs     subgroup matrices f16 → f32 of this M, N, K
enable f16;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const ROUNDS: u32 = 64u;
const M: u32 = 8u;
const N: u32 = 8u;
const K: u32 = 8u;
//! end
override WG: u32 = 32;
struct Params { subgroups: u32 }
@group(0) @binding(1) var<storage, read> a: array<f16>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(subgroup_size) size: u32) {
  let left = subgroupMatrixLoad<subgroup_matrix_left<f16, K, M>, row_major>(&a, 0u, K);
  let right = subgroupMatrixLoad<subgroup_matrix_right<f16, N, K>, row_major>(&a, 0u, N);
  var c0 = subgroup_matrix_result<f32, N, M>();
  var c1 = c0; var c2 = c0; var c3 = c0;
  for (var i = 0u; i < ROUNDS; i++) {
    c0 = subgroupMatrixMultiplyAccumulate(left, right, c0);
    c1 = subgroupMatrixMultiplyAccumulate(left, right, c1);
    c2 = subgroupMatrixMultiplyAccumulate(left, right, c2);
    c3 = subgroupMatrixMultiplyAccumulate(left, right, c3);
  }
  let at = (wid.x * params.subgroups + lane / size) * 4u * M * N;
  subgroupMatrixStore<row_major>(&y, at, c0, N);
  subgroupMatrixStore<row_major>(&y, at + M * N, c1, N);
  subgroupMatrixStore<row_major>(&y, at + 2u * M * N, c2, N);
  subgroupMatrixStore<row_major>(&y, at + 3u * M * N, c3, N);
}
