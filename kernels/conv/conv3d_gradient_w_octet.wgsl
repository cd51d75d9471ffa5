// conv3d_gradient_w_octet.wgsl — the gradient with respect to a convolution's weight, for CPU adapters with 8 lanes
//
// Shapes    as in conv3d_gradient_w_tiled.wgsl
// Work      as in matmul_tn_octet.wgsl: one subgroup owns 32 channels of dy × 4 columns a lane. Of 4 neighbouring positions a lane loads
//           its vector of columns where its tap looks, and one of the 8 vectors of dy, which are transposed in registers and handed
//           round: 8 loads of vectors for 512 multiply-adds of all lanes. Rows of a picture are gone through one by one, so that of where
//           a tap looks only the column changes from position to position.
// Order     as in conv3d_gradient_w_tiled.wgsl
// Dispatch  (ceil(q4/WG) · ceil(P/32) · slots, folded, 1)
// Cost      2·B·T'·H'·W'·N·Cin·taps flops, W' up to a multiple of 4; compute bound
// Needs     subgroups of 8 lanes or a multiple, WG lanes · channels padded to a multiple of 4
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
//! part shared/octet.wgsl
// Of each of 8 rows that the lanes hold between them, a vector of the lane's own columns.
struct Eight { r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>, r4: vec4<f32>, r5: vec4<f32>, r6: vec4<f32>, r7: vec4<f32> }

// Adds 4 products each: lane i has the vector of row i in `a`, every lane what its own columns multiply it by in `b`.
fn add(c: ptr<function, Eight>, a: vec4<f32>, b: mat4x4<f32>) {
  (*c).r0 += b * subgroupBroadcast(a, 0u);
  (*c).r1 += b * subgroupBroadcast(a, 1u);
  (*c).r2 += b * subgroupBroadcast(a, 2u);
  (*c).r3 += b * subgroupBroadcast(a, 3u);
  (*c).r4 += b * subgroupBroadcast(a, 4u);
  (*c).r5 += b * subgroupBroadcast(a, 5u);
  (*c).r6 += b * subgroupBroadcast(a, 6u);
  (*c).r7 += b * subgroupBroadcast(a, 7u);
}
//! part ends

//! part shared/octet_block.wgsl
// Of each of the four columns of a vector, what lane i handed round: a block of 4 × 4 sums.
fn block(c0: ptr<function, Eight>, c1: ptr<function, Eight>, c2: ptr<function, Eight>, c3: ptr<function, Eight>, i: u32) -> mat4x4<f32> {
  switch (i) {
    case 0u: { return mat4x4<f32>((*c0).r0, (*c1).r0, (*c2).r0, (*c3).r0); }
    case 1u: { return mat4x4<f32>((*c0).r1, (*c1).r1, (*c2).r1, (*c3).r1); }
    case 2u: { return mat4x4<f32>((*c0).r2, (*c1).r2, (*c2).r2, (*c3).r2); }
    case 3u: { return mat4x4<f32>((*c0).r3, (*c1).r3, (*c2).r3, (*c3).r3); }
    case 4u: { return mat4x4<f32>((*c0).r4, (*c1).r4, (*c2).r4, (*c3).r4); }
    case 5u: { return mat4x4<f32>((*c0).r5, (*c1).r5, (*c2).r5, (*c3).r5); }
    case 6u: { return mat4x4<f32>((*c0).r6, (*c1).r6, (*c2).r6, (*c3).r6); }
    default: { return mat4x4<f32>((*c0).r7, (*c1).r7, (*c2).r7, (*c3).r7); }
  }
}
//! part ends

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32, @builtin(subgroup_invocation_id) lane: u32,
) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let slot = group / params.tiles;
  let tile = group % params.tiles;
  let tiles_p = (params.p + 31u) / 32u;
  // Neighbours go through the same columns of x, which are the larger operand.
  let p0 = tile % tiles_p * 32u;
  let q = tile / tiles_p * WG + index;
  let at_dy = min(p0 / 4u + (lane & 7u), params.p4 - 1u);
  let step = field(5u);
  let last = i32(params.w_in) - 1;
  let begin = slot * params.each;
  let end = min(begin + params.each, params.pieces);
  for (var number = begin; number < end; number++) {
    let piece = piece_of(number);
    let column = column_of(q, piece);
    let rows = piece.count / params.w_out;
    var c0 = Eight();
    var c1 = Eight();
    var c2 = Eight();
    var c3 = Eight();
    for (var row = 0u; row < rows; row++) {
      let h = column.row + i32(row * field(4u));
      let there = column.there && (REPLICATE || (h >= 0 && h < i32(params.h_in)));
      let x_at = column.at + (u32(clamp(h, 0, i32(params.h_in) - 1)) >> UP) * x_row();
      let dy_at = piece.dy + row * params.w_out * params.p4 + at_dy;
      for (var t = 0u; t < params.w_out; t += 4u) {
        // Positions past the end of the row add nothing.
        let on = vec4<u32>(t, t + 1u, t + 2u, t + 3u) < vec4<u32>(params.w_out);
        let places = vec4<u32>(t, t + 1u, t + 2u, t + 3u);
        let dys = min(places, vec4<u32>(params.w_out - 1u)) * params.p4 + dy_at;
        let looks = vec4<i32>(places * step) + column.column;
        let inside = (looks >= vec4<i32>(0)) & (looks <= vec4<i32>(last));
        let xs = (vec4<u32>(clamp(looks, vec4<i32>(0), vec4<i32>(last))) >> vec4<u32>(UP)) * params.cin4 + x_at;
        // All loads first, as in matmul_octet.wgsl.
        let columns = mat4x4<f32>(vec4<f32>(dy[dys.x]), vec4<f32>(dy[dys.y]), vec4<f32>(dy[dys.z]), vec4<f32>(dy[dys.w]));
        let own = mat4x4<f32>(
          select(vec4<f32>(), vec4<f32>(x[xs.x]), there && (REPLICATE || inside.x)),
          select(vec4<f32>(), vec4<f32>(x[xs.y]), there && (REPLICATE || inside.y)),
          select(vec4<f32>(), vec4<f32>(x[xs.z]), there && (REPLICATE || inside.z)),
          select(vec4<f32>(), vec4<f32>(x[xs.w]), there && (REPLICATE || inside.w)));
        let positions = transpose(columns);
        add(&c0, select(vec4<f32>(), positions[0], on), own);
        add(&c1, select(vec4<f32>(), positions[1], on), own);
        add(&c2, select(vec4<f32>(), positions[2], on), own);
        add(&c3, select(vec4<f32>(), positions[3], on), own);
      }
    }
    // A loop, for drivers take minutes to compile stores that are unrolled 32 times.
    for (var i = 0u; i < 8u; i++) {
      let sums = block(&c0, &c1, &c2, &c3, i);
      for (var r = 0u; r < 4u; r++) { put(p0 + 4u * i + r, q, slot, sums[r], number == begin); }
    }
  }
}
