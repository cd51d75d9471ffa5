// shared/conv3d_pixel.wgsl — a vector of channels of x, or zeros where the kernel lies outside of it
//
// Expects   `has` (shared/conv3d.wgsl) · `x`

// The vector of channels at `column` of the row of x that starts at `at`; zeros outside.
fn pixel(at: u32, column: i32, row_inside: bool) -> vec4<f32> {
  let last = i32(params.w_in) - 1;
  let v = vec4<f32>(x[at + (u32(clamp(column, 0, last)) >> select(0u, 1u, has(DOUBLED))) * params.cin4]);
  return select(vec4<f32>(), v, has(REPLICATE) || (row_inside && column >= 0 && column <= last));
}
