// shared/conv3d_quad.wgsl — a panel of 16 channels of w, a quarter loaded by each lane of a quad and swapped with the others
//
// Expects   `w`

// Four inputs × four channels of w from `at` on, every lane of a quad its own four channels.
fn weights(at: u32) -> mat4x4<f32> {
  return transpose(mat4x4<f32>(vec4<f32>(w[at]), vec4<f32>(w[at + 4u]), vec4<f32>(w[at + 8u]), vec4<f32>(w[at + 12u])));
}

// Those of the lane whose number differs in the lowest bit, in the second, in both.
fn swap_x(m: mat4x4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(quadSwapX(m[0]), quadSwapX(m[1]), quadSwapX(m[2]), quadSwapX(m[3]));
}
fn swap_y(m: mat4x4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(quadSwapY(m[0]), quadSwapY(m[1]), quadSwapY(m[2]), quadSwapY(m[3]));
}
fn swap_xy(m: mat4x4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(quadSwapDiagonal(m[0]), quadSwapDiagonal(m[1]), quadSwapDiagonal(m[2]), quadSwapDiagonal(m[3]));
}
