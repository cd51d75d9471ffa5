// shared/conv3d_gradient_w.wgsl — what every kernel of conv3d_gradient_w has: params, which positions it sums, where in x they look
//
// Expects   `dy` and `x` at bindings 1 and 2

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
