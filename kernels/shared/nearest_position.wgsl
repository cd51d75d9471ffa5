// shared/nearest_position.wgsl — which position of a smaller video is read for one of a larger
//
// Expects   nothing
// Numerics  in f32, as PyTorch's interpolate computes it

//! specialise
const FIRST_APART: bool = false;
//! end
fn nearest(i: u32, step: f32, size: u32) -> u32 { return min(u32(f32(i) * step), size - 1u); }

// FIRST_APART: the first frame has the first to itself, and step is that of the others.
fn nearest_frame(t: u32, step: f32, size: u32) -> u32 {
  if (FIRST_APART) { return select(1u + nearest(t - 1u, step, size - 1u), 0u, t == 0u); }
  return nearest(t, step, size);
}
