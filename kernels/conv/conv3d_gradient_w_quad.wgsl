// conv3d_gradient_w_quad.wgsl — the gradient with respect to a convolution's weight, for CPU adapters with 4 lanes
//
// Shapes    as in conv3d_gradient_w_tiled.wgsl
// Work      as in matmul_tn_quad.wgsl: one lane owns 8 channels of dy × 16 columns, of which the four lanes of a quad load 4 each,
//           where their taps look, and swap them. Both are transposed in registers, 4 positions of 4 channels at a time; rows of a
//           picture are gone through one by one.
// Order     as in conv3d_gradient_w_tiled.wgsl
// Dispatch  (ceil(q4/4) · ceil(P/(8·WG)) · slots, folded, 1)
// Cost      2·B·T'·H'·W'·N·Cin·taps flops, W' up to a multiple of 8; compute bound
// Needs     subgroups (of 4 lanes or a multiple) · channels padded to a multiple of 4
// Numerics  f32 accumulation for every storage type, 8 products at a time
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias G = f32;
alias X = f32;
//! end
override WG: u32 = 4;
@group(0) @binding(1) var<storage, read> dy: array<vec4<G>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<X>>;
//! part shared/conv3d_gradient_w.wgsl
// h_out, w_out: rows and columns of dy · t_out, t_in: frames of dy and of x that a batch entry has · h_in, w_in: rows and columns of x,
// after nearest upsampling · p4, cin4: vectors of channels of dy and of x · p: channels of y · q4, q_first: vectors of columns of y that
// are summed here, and the first; a column is a channel of x under a tap
// tiles: of one slot · groups: workgroups, tiles of all slots
// pieces: runs of positions, each of some rows of one frame, in their order: frames, in them batch entries, in them `chunks` of chunk_rows
// rows from the chunk first_chunk on · each: pieces that a workgroup sums one after another into its slot, batches: entries
// t_origin, h_origin: frame and row of x under tap 0 of the first piece's frame, of row 0
// kernel: 4 bits each of taps in time, rows, columns; strides in time, rows, columns; dilation in time; columns padded left, −8 to 7
// dy_base, x_base: vectors of the first piece's frame and of its batch entry, less where the binding begins; wrap
// part4: vectors of a slot · stride4: of a row of y
struct Params {
  h_out: u32, w_out: u32, t_out: u32, t_in: u32, h_in: u32, w_in: u32, p4: u32, cin4: u32, p: u32, q4: u32, q_first: u32,
  tiles: u32, groups: u32, pieces: u32, each: u32, batches: u32, chunks: u32, first_chunk: u32, chunk_rows: u32,
  t_origin: i32, h_origin: i32, kernel: u32, dy_base: u32, x_base: u32, part4: u32, stride4: u32,
}
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
//! specialise
// Rows and columns past the borders repeat them; they are zeros otherwise.
const REPLICATE: bool = false;
// Frames before the first are zeros; they repeat it otherwise.
const ZERO_FRAMES: bool = false;
// x is read as if its rows and columns were doubled; its frames: 0 once, 1 twice, 2 twice but for the first.
const DOUBLED: bool = false;
const FRAMES: u32 = 0u;
// y holds the sums over the pieces of the dispatches before.
const ACCUMULATE: bool = false;
//! end
const UP: u32 = select(0u, 1u, DOUBLED);

fn field(index: u32) -> u32 { return (params.kernel >> (4u * index)) & 15u; }

// Rows and columns of x, as vectors of its channels: of a row, of a frame.
fn x_row() -> u32 { return (params.w_in >> UP) * params.cin4; }
fn x_plane() -> u32 { return (params.h_in >> UP) * x_row(); }

// dy: its first vector · x: the first of its batch entry · t, h: frame and row of x under tap 0 of the first position · count: positions
struct Piece { dy: u32, x: u32, t: i32, h: i32, count: u32 }

fn piece_of(index: u32) -> Piece {
  let row = (params.first_chunk + index % params.chunks) * params.chunk_rows;
  let batch = index / params.chunks % params.batches;
  let frame = index / params.chunks / params.batches;
  let rows = min(params.chunk_rows, params.h_out - row);
  return Piece(
    params.dy_base + (((batch * params.t_out + frame) * params.h_out + row) * params.w_out) * params.p4,
    params.x_base + batch * params.t_in * x_plane(),
    i32(frame * field(3u)) + params.t_origin,
    i32(row * field(4u)) + params.h_origin,
    rows * params.w_out);
}

// One vector of columns of y, of one piece. at: its channels in the frame of x · row, column: its tap's · there: does it lie on x?
struct Column { at: u32, row: i32, column: i32, there: bool }

fn column_of(q: u32, piece: Piece) -> Column {
  let of_all = params.q_first + min(q, params.q4 - 1u);
  let tap = of_all / params.cin4;
  let kw = field(2u);
  let kh = field(1u);
  let t = piece.t + i32(tap / kw / kh * field(6u));
  var frame = u32(max(t, 0));
  // How many there are after doubling: a frame of x past the last is none.
  var end = params.t_in;
  if (FRAMES == 1u) { frame = frame >> 1u; end = 2u * end; }
  if (FRAMES == 2u) { frame = (frame + 1u) >> 1u; end = 2u * end - 1u; }
  return Column(
    piece.x + min(frame, params.t_in - 1u) * x_plane() + of_all % params.cin4,
    piece.h + i32(tap / kw % kh),
    i32(tap % kw) - (i32(params.kernel) >> 28u),
    t < i32(end) && (t >= 0 || !ZERO_FRAMES));
}

// Where in x the position at a row and column of the piece looks, and whether that lies in x.
struct Look { at: u32, inside: bool }
fn look(column: Column, row: u32, at: u32) -> Look {
  let h = column.row + i32(row * field(4u));
  let w = column.column + i32(at * field(5u));
  let inside = column.there && (REPLICATE || (h >= 0 && h < i32(params.h_in) && w >= 0 && w < i32(params.w_in)));
  return Look(
    column.at + (u32(clamp(h, 0, i32(params.h_in) - 1)) >> UP) * x_row() + (u32(clamp(w, 0, i32(params.w_in) - 1)) >> UP) * params.cin4,
    inside);
}

fn put(row: u32, q: u32, slot: u32, v: vec4<f32>, first: bool) {
  if (row >= params.p || q >= params.q4) { return; }
  let at = slot * params.part4 + row * params.stride4 + params.q_first + q;
  if (ACCUMULATE || !first) { y[at] += v; } else { y[at] = v; }
}
//! part ends
//! part shared/quad.wgsl
// A row of the tile: the lane's own columns, and those that it got by the swaps.
struct Row { own: vec4<f32>, x: vec4<f32>, y: vec4<f32>, xy: vec4<f32> }
// Weights of 4 inputs × 4 columns, for each of the four.
struct Weights { own: mat4x4<f32>, x: mat4x4<f32>, y: mat4x4<f32>, xy: mat4x4<f32> }

// m: of each of the lane's columns, 4 inputs.
fn swapped(m: mat4x4<f32>) -> Weights {
  return Weights(
    m,
    mat4x4<f32>(quadSwapX(m[0]), quadSwapX(m[1]), quadSwapX(m[2]), quadSwapX(m[3])),
    mat4x4<f32>(quadSwapY(m[0]), quadSwapY(m[1]), quadSwapY(m[2]), quadSwapY(m[3])),
    mat4x4<f32>(quadSwapDiagonal(m[0]), quadSwapDiagonal(m[1]), quadSwapDiagonal(m[2]), quadSwapDiagonal(m[3])));
}

// Adds 8 inputs of one row.
fn add(c: ptr<function, Row>, a: vec4<f32>, m: Weights, b: vec4<f32>, n: Weights) {
  (*c).own += a * m.own + b * n.own;
  (*c).x += a * m.x + b * n.x;
  (*c).y += a * m.y + b * n.y;
  (*c).xy += a * m.xy + b * n.xy;
}
//! part ends

// Of each of a vector's four channels, 4 positions of the row from t on; those past the end are zeros.
fn channels(at: u32, t: u32) -> mat4x4<f32> {
  let last = params.w_out - 1u;
  let m = transpose(mat4x4<f32>(
    vec4<f32>(dy[at + min(t, last) * params.p4]), vec4<f32>(dy[at + min(t + 1u, last) * params.p4]),
    vec4<f32>(dy[at + min(t + 2u, last) * params.p4]), vec4<f32>(dy[at + min(t + 3u, last) * params.p4])));
  let there = vec4<u32>(t, t + 1u, t + 2u, t + 3u) < vec4<u32>(params.w_out);
  return mat4x4<f32>(
    select(vec4<f32>(), m[0], there), select(vec4<f32>(), m[1], there), select(vec4<f32>(), m[2], there), select(vec4<f32>(), m[3], there));
}

// What the lane's columns look at from a position of the row.
fn seen(column: Column, row: u32, t: u32) -> vec4<f32> {
  let there = look(column, row, min(t, params.w_out - 1u));
  return select(vec4<f32>(), vec4<f32>(x[there.at]), there.inside);
}
fn columns(column: Column, row: u32, t: u32) -> Weights {
  return swapped(transpose(mat4x4<f32>(
    seen(column, row, t), seen(column, row, t + 1u), seen(column, row, t + 2u), seen(column, row, t + 3u))));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let slot = group / params.tiles;
  let tile = group % params.tiles;
  let tiles_p = (params.p + 8u * WG - 1u) / (8u * WG);
  // Neighbours go through the same columns of x, which are the larger operand.
  let p0 = (tile % tiles_p * WG + lane) * 8u;
  let q = tile / tiles_p * 4u;
  // Vectors past the end are the last again.
  let at_dy = min(p0 / 4u, params.p4 - 1u);
  let after = min(p0 / 4u + 1u, params.p4 - 1u);
  let begin = slot * params.each;
  let end = min(begin + params.each, params.pieces);
  for (var number = begin; number < end; number++) {
    let piece = piece_of(number);
    let column = column_of(q + (lane & 3u), piece);
    let rows = piece.count / params.w_out;
    var c0 = Row();
    var c1 = Row();
    var c2 = Row();
    var c3 = Row();
    var c4 = Row();
    var c5 = Row();
    var c6 = Row();
    var c7 = Row();
    for (var row = 0u; row < rows; row++) {
      let start = piece.dy + row * params.w_out * params.p4;
      for (var t = 0u; t < params.w_out; t += 8u) {
        let m = columns(column, row, t);
        let n = columns(column, row, t + 4u);
        let m0 = channels(start + at_dy, t);
        let n0 = channels(start + at_dy, t + 4u);
        add(&c0, m0[0], m, n0[0], n);
        add(&c1, m0[1], m, n0[1], n);
        add(&c2, m0[2], m, n0[2], n);
        add(&c3, m0[3], m, n0[3], n);
        let m1 = channels(start + after, t);
        let n1 = channels(start + after, t + 4u);
        add(&c4, m1[0], m, n1[0], n);
        add(&c5, m1[1], m, n1[1], n);
        add(&c6, m1[2], m, n1[2], n);
        add(&c7, m1[3], m, n1[3], n);
      }
    }
    let own = lane & 3u;
    for (var i = 0u; i < 8u; i++) {
      var c = c0;
      if (i == 1u) { c = c1; }
      if (i == 2u) { c = c2; }
      if (i == 3u) { c = c3; }
      if (i == 4u) { c = c4; }
      if (i == 5u) { c = c5; }
      if (i == 6u) { c = c6; }
      if (i == 7u) { c = c7; }
      put(p0 + i, q + own, slot, c.own, number == begin);
      put(p0 + i, q + (own ^ 1u), slot, c.x, number == begin);
      put(p0 + i, q + (own ^ 2u), slot, c.y, number == begin);
      put(p0 + i, q + (own ^ 3u), slot, c.xy, number == begin);
    }
  }
}
