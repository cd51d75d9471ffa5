// quantize_panels.wgsl — rows of a matrix in 8 bits a value, packed for matmul_dot_i8
//
// Shapes    x [M, K] row-major · y: panels of 16 rows, [ceil(M/16)][K/32] blocks of 36 vectors: words [8][16], each 4 inputs of a row as
//           bytes, and the f32 scales [16] of its rows. Rows past the end are the last once more.
// Work      one workgroup per 16 rows × 64 inputs; a lane reads 4 inputs, eight neighbours find the largest magnitude of their 32 in
//           sh_largest, and what the workgroup made is stored in the order that it lies in
// Dispatch  (ceil(M/16) · ceil(K/64), folded, 1)
// Cost      reads x once, writes 9/8 bytes a value; bandwidth bound
// Needs     K % 32 == 0 (checked in src/ops/matmul.ts), the language feature packed_4x8_integer_dot_product
// Numerics  scale = largest / 127; a value is the nearest whole multiple of it. 32 values none of which is above 1e-30 are zeros
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
//! end
struct Params { m: u32, k: u32, tiles: u32 }
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;

var<workgroup> sh_largest: array<f32, 256>;
// Two blocks
var<workgroup> sh_y: array<u32, 288>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.tiles) { return; }
  let blocks = params.k / 32u;
  let pairs = (blocks + 1u) / 2u;
  let panel = group / pairs;
  let pair = group % pairs;
  let row = lane / 16u;
  let quad = lane % 16u;
  let v = vec4<f32>(x[min(panel * 16u + row, params.m - 1u) * (params.k / 4u) + min(pair * 16u + quad, params.k / 4u - 1u)]);
  let size = abs(v);
  sh_largest[lane] = max(max(size.x, size.y), max(size.z, size.w));
  workgroupBarrier();
  var largest = 0.0;
  for (var i = 0u; i < 8u; i++) { largest = max(largest, sh_largest[(lane & ~7u) + i]); }
  var inverse = 0.0;
  var scale = 0.0;
  if (largest > 1e-30) {
    inverse = 127.0 / largest;
    scale = largest / 127.0;
  }
  let at = quad / 8u * 144u;
  sh_y[at + quad % 8u * 16u + row] = pack4xI8(vec4<i32>(clamp(round(v * inverse), vec4<f32>(-127.0), vec4<f32>(127.0))));
  if (quad % 8u == 0u) { sh_y[at + 128u + row] = bitcast<u32>(scale); }
  workgroupBarrier();
  if (lane < 36u * min(2u, blocks - 2u * pair)) {
    let source = 4u * lane;
    y[(panel * blocks + 2u * pair) * 36u + lane] = vec4<u32>(sh_y[source], sh_y[source + 1u], sh_y[source + 2u], sh_y[source + 3u]);
  }
}
