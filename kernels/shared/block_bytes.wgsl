// shared/block_bytes.wgsl — bytes and scales of ggml's blocks, which begin at even bytes
//
// Expects   `x`, `widen`

// 4 bytes of x from an even one on.
fn bytes(at: u32) -> u32 {
  let word = x[at / 4u];
  if ((at & 2u) == 0u) { return word; }
  return (word >> 16u) | (x[at / 4u + 1u] << 16u);
}

// The f16 at an even byte.
fn half_at(at: u32) -> f32 {
  let code = (x[at / 4u] >> (at % 4u * 8u)) & 0xffffu;
  return bitcast<f32>(widen(vec4<u32>(code)).x);
}
