// conv3d_gradient_w_octet_row.wgsl — the gradient with respect to the weight of a convolution of three taps a row, for 8 lanes of a CPU
//
// Shapes    as in conv3d_gradient_w_tiled.wgsl
// Work      one subgroup owns 16 channels of dy × the three taps of a row of 4 channels of x a lane: 12 blocks of 4 × 4 sums. Loads that
//           differ from lane to lane are what costs a CPU most. So the places of x that neighbouring taps share are loaded once and
//           handed on, and each lane loads 2 of the 16 vectors that dy has of 4 positions, which are handed round: 6 loads of vectors
//           for 768 multiply-adds of all lanes, where conv3d_gradient_w_octet has 12.
// Order     as in conv3d_gradient_w_tiled.wgsl
// Dispatch  (ceil(q4/(3·WG)) · ceil(P/16) · slots, folded, 1)
// Cost      2·B·T'·H'·W'·N·Cin·taps flops, W' up to a multiple of 4; compute bound
// Needs     subgroups of 8 lanes or a multiple, WG lanes · three taps a row, columns without a stride · channels padded to a multiple of 4
// Numerics  f32 accumulation for every storage type, 4 products at a time
enable subgroups;
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias G = f32;
alias X = f32;
//! end
override WG: u32 = 8;
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

// The vector of channels at a place of the row of x that starts at `at`; zeros outside.
fn pixel(at: u32, place: i32, there: bool) -> vec4<f32> {
  let last = i32(params.w_in) - 1;
  let v = vec4<f32>(x[at + (u32(clamp(place, 0, last)) >> UP) * params.cin4]);
  return select(vec4<f32>(), v, there && (REPLICATE || (place >= 0 && place <= last)));
}

// What two lanes have of a vector of channels, at two positions each: of each of the channels, 4 positions.
fn handed(at0: vec4<f32>, at1: vec4<f32>, at2: vec4<f32>, at3: vec4<f32>) -> mat4x4<f32> {
  return transpose(mat4x4<f32>(at0, at1, at2, at3));
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32, @builtin(subgroup_invocation_id) lane: u32,
) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let tile = group % params.tiles;
  let slot = group / params.tiles;
  let tiles_p = (params.p + 15u) / 16u;
  // Neighbours go through the same channels of x, which are read once a tap in time and row.
  let p0 = tile % tiles_p * 16u;
  let own = tile / tiles_p * WG + index;
  let q = own / params.cin4 * 3u * params.cin4 + own % params.cin4;
  let at_dy = min(p0 / 4u + (lane & 3u), params.p4 - 1u);
  let on = (lane >> 2u) & 1u;
  let begin = slot * params.each;
  let end = min(begin + params.each, params.pieces);
  for (var number = begin; number < end; number++) {
    let piece = piece_of(number);
    let column = column_of(q, piece);
    let rows = piece.count / params.w_out;
    // Of vector j of the channels and tap i: c<j><i>.
    var c00 = mat4x4<f32>(); var c01 = mat4x4<f32>(); var c02 = mat4x4<f32>();
    var c10 = mat4x4<f32>(); var c11 = mat4x4<f32>(); var c12 = mat4x4<f32>();
    var c20 = mat4x4<f32>(); var c21 = mat4x4<f32>(); var c22 = mat4x4<f32>();
    var c30 = mat4x4<f32>(); var c31 = mat4x4<f32>(); var c32 = mat4x4<f32>();
    for (var row = 0u; row < rows; row++) {
      let h = column.row + i32(row * field(4u));
      let there = column.there && (REPLICATE || (h >= 0 && h < i32(params.h_in)));
      let x_at = column.at + (u32(clamp(h, 0, i32(params.h_in) - 1)) >> UP) * x_row();
      let dy_at = piece.dy + row * params.w_out * params.p4 + at_dy;
      var v0 = pixel(x_at, column.column, there);
      var v1 = pixel(x_at, column.column + 1, there);
      for (var t = 0u; t < params.w_out; t += 4u) {
        let place = column.column + i32(t);
        let v2 = pixel(x_at, place + 2, there);
        let v3 = pixel(x_at, place + 3, there);
        let v4 = pixel(x_at, place + 4, there);
        let v5 = pixel(x_at, place + 5, there);
        // Positions past the end of the row add nothing.
        let last = params.w_out - 1u;
        let low = select(vec4<f32>(), vec4<f32>(dy[dy_at + min(t + on, last) * params.p4]), t + on <= last);
        let high = select(vec4<f32>(), vec4<f32>(dy[dy_at + min(t + 2u + on, last) * params.p4]), t + 2u + on <= last);
        let d0 = handed(
          subgroupBroadcast(low, 0u), subgroupBroadcast(low, 4u), subgroupBroadcast(high, 0u), subgroupBroadcast(high, 4u));
        let d1 = handed(
          subgroupBroadcast(low, 1u), subgroupBroadcast(low, 5u), subgroupBroadcast(high, 1u), subgroupBroadcast(high, 5u));
        let d2 = handed(
          subgroupBroadcast(low, 2u), subgroupBroadcast(low, 6u), subgroupBroadcast(high, 2u), subgroupBroadcast(high, 6u));
        let d3 = handed(
          subgroupBroadcast(low, 3u), subgroupBroadcast(low, 7u), subgroupBroadcast(high, 3u), subgroupBroadcast(high, 7u));
        let m0 = mat4x4<f32>(v0, v1, v2, v3);
        let m1 = mat4x4<f32>(v1, v2, v3, v4);
        let m2 = mat4x4<f32>(v2, v3, v4, v5);
        c00 += m0 * d0; c01 += m1 * d0; c02 += m2 * d0;
        c10 += m0 * d1; c11 += m1 * d1; c12 += m2 * d1;
        c20 += m0 * d2; c21 += m1 * d2; c22 += m2 * d2;
        c30 += m0 * d3; c31 += m1 * d3; c32 += m2 * d3;
        v0 = v4;
        v1 = v5;
      }
    }
    // A loop, for drivers take minutes to compile stores that are unrolled 48 times.
    for (var i = 0u; i < 12u; i++) {
      var sums = c00;
      if (i == 1u) { sums = c01; }
      if (i == 2u) { sums = c02; }
      if (i == 3u) { sums = c10; }
      if (i == 4u) { sums = c11; }
      if (i == 5u) { sums = c12; }
      if (i == 6u) { sums = c20; }
      if (i == 7u) { sums = c21; }
      if (i == 8u) { sums = c22; }
      if (i == 9u) { sums = c30; }
      if (i == 10u) { sums = c31; }
      if (i == 11u) { sums = c32; }
      for (var r = 0u; r < 4u; r++) { put(p0 + i / 3u * 4u + r, q + i % 3u * params.cin4, slot, sums[r], number == begin); }
    }
  }
}
