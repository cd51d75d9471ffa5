// conv3d_fold.wgsl — the gradient with respect to what a convolution read, from that with respect to what it saw
//
// Meaning   borders and frames that it saw repeated are summed into what they repeat, phases of its strides are put next to each other
// Shapes    seen [phases][B, MT, MH, MW, C]: place (ρ + s · m) of time, rows, columns lies in phase ρ = (ρt, ρh, ρw) at m
//           y [T, H, W, C] of one batch entry
// Work      one thread a vector of y: the sum over the places that saw it, in order
// Dispatch  (ceil(count / WG), folded, 1)
// Cost      reads seen once, writes y once; bandwidth bound
// Numerics  f32 sums
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias X = f32;
alias Y = f32;
// Rows and columns were seen doubled; frames: 0 once, 1 twice, 2 twice but for the first.
const DOUBLED: bool = false;
const FRAMES: u32 = 0u;
//! end
override WG: u32 = 64;
// count: vectors of y here · c4, w, h: of a place of y; columns, rows · t: frame of x that y begins with · mh, mw: rows and columns of a
// phase · strides: 4 bits each of time, rows, columns · origin: place in `seen` of the first frame seen · front: frames seen before the
// first, all of which repeat it · edges: 8 bits each of rows repeated above and below, columns left and right
// block: vectors of a phase · x_base, y_base: added to an index, wrap
struct Params {
  count: u32, c4: u32, w: u32, h: u32, t: u32, mh: u32, mw: u32, strides: u32,
  origin: i32, front: u32, edges: u32, block: u32, x_base: u32, y_base: u32,
}
@group(0) @binding(1) var<storage, read> seen: array<vec4<X>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Y>>;

// First and last place along rows or columns that saw `i` of `size`.
fn places(i: u32, size: u32, before: u32, after: u32) -> vec2<u32> {
  let each = select(1u, 2u, DOUBLED);
  let first = before + i * each;
  return vec2<u32>(select(first, 0u, i == 0u), first + each - 1u + select(0u, after, i + 1u == size));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * WG + lane;
  if (i >= params.count) { return; }
  let channel = i % params.c4;
  let place = i / params.c4;
  let t = params.t + place / params.w / params.h;
  let rows = places(place / params.w % params.h, params.h, params.edges & 255u, (params.edges >> 8u) & 255u);
  let columns = places(place % params.w, params.w, (params.edges >> 16u) & 255u, params.edges >> 24u);
  var first = i32(t);
  var last = i32(t);
  if (FRAMES == 1u) { first = 2 * first; last = first + 1; }
  if (FRAMES == 2u) { last = 2 * last; first = max(last - 1, 0); }
  if (t == 0u) { first -= i32(params.front); }
  let st = params.strides & 15u;
  let sh = (params.strides >> 4u) & 15u;
  let sw = (params.strides >> 8u) & 15u;
  var sum = vec4<f32>();
  for (var a = u32(first + params.origin); a <= u32(last + params.origin); a++) {
    for (var e = rows.x; e <= rows.y; e++) {
      for (var f = columns.x; f <= columns.y; f++) {
        let phase = (a % st * sh + e % sh) * sw + f % sw;
        let at = ((a / st * params.mh + e / sh) * params.mw + f / sw) * params.c4 + channel;
        sum += vec4<f32>(seen[params.x_base + phase * params.block + at]);
      }
    }
  }
  y[params.y_base + i] = vec4<Y>(sum);
}
