// pack_operand.wgsl — a matrix or a convolution's kernel, row-major as an op made it → the layout in which kernels read it
//
// For       operands that are no weights of the checkpoint; those are unpacked while they load (kernels/weights/)
// Shapes    x [out, inner, taps]
//           PANELS: y [ceil(out/16)][taps][padded][16], `padded` = inner up to a multiple of 4 · else y [out up to 16][taps][padded],
//           `padded` up to a multiple of 8. Zeros past the ends. A vector is one row of its values, padded up to 16.
// Work      one thread writes a vector of y, neighbours neighbouring ones: of panels four threads take 16 outputs of an input, so that a
//           wave reads runs of inputs of 16 rows
// Dispatch  (ceil(count / 64), folded, 1)
// Cost      reads x once, writes y once; bandwidth bound
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
const PANELS: bool = true;
//! end
// count: vectors of y · out, inner, taps: of x, from the first output on that is bound
struct Params { count: u32, out: u32, inner: u32, taps: u32, padded: u32 }
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<X>>;

fn value(out: u32, inner: u32, tap: u32) -> X {
  if (out >= params.out || inner >= params.inner) { return X(0.0); }
  return x[(out * params.inner + inner) * params.taps + tap];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + lane;
  if (i >= params.count) { return; }
  if (PANELS) {
    let inner = i / 4u % params.padded;
    let row = i / 4u / params.padded;
    let tap = row % params.taps;
    let out = row / params.taps * 16u + i % 4u * 4u;
    y[i] = vec4<X>(value(out, inner, tap), value(out + 1u, inner, tap), value(out + 2u, inner, tap), value(out + 3u, inner, tap));
  } else {
    let inner = i % (params.padded / 4u) * 4u;
    let row = i / (params.padded / 4u);
    let tap = row % params.taps;
    let out = row / params.taps;
    y[i] = vec4<X>(value(out, inner, tap), value(out, inner + 1u, tap), value(out, inner + 2u, tap), value(out, inner + 3u, tap));
  }
}
