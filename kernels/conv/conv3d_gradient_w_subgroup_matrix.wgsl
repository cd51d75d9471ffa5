// conv3d_gradient_w_subgroup_matrix.wgsl — the gradient with respect to a convolution's weight, in f16, for GPUs with matrix units
//
// Shapes    dy and x f16, else as in conv3d_gradient_w_tiled.wgsl
// Matrices  as in matmul_subgroup_matrix.wgsl, f16 in and f32 sums
// Work      as in matmul_tn_subgroup_matrix.wgsl: one workgroup per slot and BM × BN tile of y, SGX · SGY subgroups of SM × SN matrices of
//           sums. A row of dy is runs of 8 positions, the last one filled up with zeros. Tiles of BK / 8 runs are staged in workgroup
//           memory by channel, a run to a word of it: blocks of 8 × 4 halves are turned in registers on the way. A thread has the same
//           run and channels of every tile, so the tap of its block of x is worked out once a piece, and where the run lies is counted
//           on, without divisions.
// Order     as in conv3d_gradient_w_tiled.wgsl
// Dispatch  (ceil(4·q4/BN) · ceil(P/BM) · slots, folded, 1); neighbours share channels of dy
// Cost      2·B·T'·H'·W'·N·Cin·taps flops, W' to the next multiple of 8; BM·BN/(BM + BN) = 64 flops a byte of memory at 128 × 128;
//           compute bound
// Occupancy 6 waves a SIMD or more on RDNA 3: with 8 runs at once (36 KB) each of 256 lanes has one block of dy and one of x
// Banks     as in matmul_tn_subgroup_matrix.wgsl
// Needs     SUBGROUP: the adapter's largest subgroup
// Numerics  f16 products, f32 sums, in the order of the positions
enable f16, subgroups, chromium_experimental_subgroup_matrix;
// A subgroup's lanes agree on what it does: lane / subgroup_size is the same in all of them, which the compiler cannot know.
diagnostic(off, chromium.subgroup_matrix_uniformity);
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
// Are rows of dy whole runs of 8 positions?
const WHOLE: bool = false;
//! end
// Four halves a word.
@group(0) @binding(1) var<storage, read> dy: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> x: array<vec2<u32>>;
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

//! part shared/matrix_tile.wgsl
//! specialise
const MM: u32 = 16u;
const NN: u32 = 16u;
const KK: u32 = 16u;
const SUBGROUP: u32 = 32u;
const SGX: u32 = 2u;
const SGY: u32 = 2u;
const SM: u32 = 4u;
const SN: u32 = 4u;
const BK: u32 = 32u;
//! end
const BM: u32 = SGY * SM * MM;
const BN: u32 = SGX * SN * NN;
const SGS: u32 = SGX * SGY;
const WG: u32 = SGS * SUBGROUP;
const KV: u32 = BK / 8u;
const STRIDE: u32 = KV + 1u - KV % 2u;
const W_BASE: u32 = BM * STRIDE;
const X_LOADS: u32 = (BM * KV + WG - 1u) / WG;
const W_LOADS: u32 = (BN * KV + WG - 1u) / WG;
// Sums of one row of matrices, as vectors of 4.
const Y_ROW: u32 = SN * NN / 4u;
const Y_STRIDE: u32 = Y_ROW + 1u;
const Y_COUNT: u32 = SGS * MM * Y_ROW;
var<workgroup> sh: array<vec4<u32>, max((BM + BN) * STRIDE, SGS * MM * Y_STRIDE)>;
//! part ends
//! part shared/matrix_turn.wgsl
// The halves of two inputs in the lower, and in the upper, half of a word.
fn lower_pair(a: u32, b: u32) -> u32 { return bitcast<u32>(vec2<f16>(bitcast<vec2<f16>>(a).x, bitcast<vec2<f16>>(b).x)); }
fn upper_pair(a: u32, b: u32) -> u32 { return bitcast<u32>(vec2<f16>(bitcast<vec2<f16>>(a).y, bitcast<vec2<f16>>(b).y)); }

// w: of 8 inputs, 4 columns each. Of every column, its 8 inputs in a word.
fn turn(w: array<vec2<u32>, 8>) -> array<vec4<u32>, 4> {
  var columns: array<vec4<u32>, 4>;
  for (var j = 0u; j < 2u; j++) {
    columns[2u * j] = vec4<u32>(
      lower_pair(w[0][j], w[1][j]), lower_pair(w[2][j], w[3][j]), lower_pair(w[4][j], w[5][j]), lower_pair(w[6][j], w[7][j]));
    columns[2u * j + 1u] = vec4<u32>(
      upper_pair(w[0][j], w[1][j]), upper_pair(w[2][j], w[3][j]), upper_pair(w[4][j], w[5][j]), upper_pair(w[6][j], w[7][j]));
  }
  return columns;
}
//! part ends
// Blocks of 8 positions × 4 channels of dy and of x, and those of one thread.
const A_BLOCKS: u32 = BM / 4u * KV;
const B_BLOCKS: u32 = BN / 4u * KV;
const A_OWN: u32 = (A_BLOCKS + WG - 1u) / WG;
const B_OWN: u32 = (B_BLOCKS + WG - 1u) / WG;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32, @builtin(subgroup_size) lanes: u32,
) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let slot = group / params.tiles;
  let tile = group % params.tiles;
  let tiles_q = (4u * params.q4 + BN - 1u) / BN;
  let p0 = tile / tiles_q * BM;
  let q0 = tile % tiles_q * BN / 4u;
  let subgroup = lane / lanes;
  let part_m = subgroup % SGS / SGX;
  let part_n = subgroup % SGX;
  let stride_h = field(4u);
  let stride_w = field(5u);
  // Where a tile is small, half of the threads have blocks of dy and the others blocks of x.
  let lane_x = (lane + WG / 2u) % WG;
  // Runs of a row of dy; where in x, and in dy and x as vectors, a row and a run are on from the one before.
  let runs = (params.w_out + 7u) / 8u;
  let on_row = vec4<u32>(stride_h, 0u, params.w_out * params.p4, stride_h * x_row());
  let on_run = vec4<u32>(0u, 8u * stride_w, 8u * params.p4, 8u * stride_w * params.cin4);
  let on_tile = KV / runs * on_row + KV % runs * on_run;
  let on_end = on_row - runs * on_run;

  let begin = slot * params.each;
  let end = min(begin + params.each, params.pieces);
  for (var index = begin; index < end; index++) {
    let piece = piece_of(index);
    let rows = piece.count / params.w_out;
    let rows_end = rows * stride_h;
    let dy_last = (piece.count - 1u) * params.p4;
    // Where the thread's blocks look. Channels and columns of y past the end are the last once more; their results are not stored.
    var dy_at: array<u32, A_OWN>;
    var column: array<Column, B_OWN>;
    // Columns of x that positions of a row look at end here.
    var columns_end: array<u32, B_OWN>;
    for (var i = 0u; i < A_OWN; i++) { dy_at[i] = piece.dy + min(p0 / 4u + (lane + i * WG) / KV, params.p4 - 1u); }
    for (var i = 0u; i < B_OWN; i++) {
      column[i] = column_of(q0 + (lane_x + i * WG) / KV, piece);
      let seen = i32(params.w_out * stride_w);
      let last = select(clamp(seen + column[i].column, 0, i32(params.w_in)), seen, REPLICATE);
      columns_end[i] = select(0u, u32(last), column[i].there);
      // As the first position of a piece looks.
      if (!REPLICATE && !DOUBLED) { column[i].at += u32(column[i].row) * x_row() + u32(column[i].column) * params.cin4; }
    }
    // The thread's run of a tile: row and column of x under tap 0, vectors of dy and of x.
    var place = lane % KV / runs * on_row + lane % KV % runs * on_run;

    var acc: array<array<subgroup_matrix_result<f32, NN, MM>, SN>, SM>;
    for (var i = 0u; i < SM; i++) {
      for (var j = 0u; j < SN; j++) { acc[i][j] = subgroup_matrix_result<f32, NN, MM>(); }
    }
    // The test stands at the end: compilers move addresses out of a loop only where its body runs in any case.
    var left = (rows * runs + KV - 1u) / KV;
    loop {
      for (var i = 0u; i < A_OWN; i++) {
        let at = lane + i * WG;
        if (A_BLOCKS % WG == 0u || at < A_BLOCKS) {
          // Positions past a row's end, and runs past the last row, are others of the piece: those of x there are zeros.
          let run = select(0u, place.z, place.x < rows_end);
          var block: array<vec2<u32>, 8>;
          for (var k = 0u; k < 8u; k++) {
            block[k] = dy[dy_at[i] + select(min(run + k * params.p4, dy_last), run + k * params.p4, WHOLE)];
          }
          let turned = turn(block);
          for (var j = 0u; j < 4u; j++) { sh[(at % A_BLOCKS / KV * 4u + j) * STRIDE + at % KV] = turned[j]; }
        }
      }
      for (var i = 0u; i < B_OWN; i++) {
        let at = lane_x + i * WG;
        if (B_BLOCKS % WG == 0u || at < B_BLOCKS) {
          let h = column[i].row + i32(place.x);
          let w = column[i].column + i32(place.y);
          let there = place.x < rows_end && (REPLICATE || u32(h) < params.h_in);
          let row_end = select(0u, columns_end[i], there);
          var block: array<vec2<u32>, 8>;
          for (var k = 0u; k < 8u; k++) {
            // What lies outside of x is read from somewhere and is not used.
            var look = column[i].at + place.w + k * (stride_w * params.cin4);
            var inside = u32(w + i32(k * stride_w)) < row_end;
            if (REPLICATE) { inside = place.y + k * stride_w < row_end; }
            if (REPLICATE || DOUBLED) {
              let row = u32(clamp(h, 0, i32(params.h_in) - 1)) >> UP;
              let along = u32(clamp(w + i32(k * stride_w), 0, i32(params.w_in) - 1)) >> UP;
              look = column[i].at + row * x_row() + along * params.cin4;
            }
            block[k] = select(vec2<u32>(), x[look], inside);
          }
          let turned = turn(block);
          for (var j = 0u; j < 4u; j++) { sh[W_BASE + (at % B_BLOCKS / KV * 4u + j) * STRIDE + at % KV] = turned[j]; }
        }
      }
      place += on_tile;
      if (place.y >= runs * 8u * stride_w) { place += on_end; }
      workgroupBarrier();
      //! part shared/matrix_tile_multiply.wgsl
      for (var k = 0u; k < BK / KK; k++) {
        var b: array<subgroup_matrix_right<f16, NN, KK>, SN>;
        for (var j = 0u; j < SN; j++) {
          b[j] = subgroupMatrixLoad<subgroup_matrix_right<f16, NN, KK>, col_major>(
            &sh, W_BASE + (part_n * SN + j) * NN * STRIDE + k * (KK / 8u), STRIDE);
        }
        for (var i = 0u; i < SM; i++) {
          let a = subgroupMatrixLoad<subgroup_matrix_left<f16, KK, MM>, row_major>(
            &sh, (part_m * SM + i) * MM * STRIDE + k * (KK / 8u), STRIDE);
          for (var j = 0u; j < SN; j++) { acc[i][j] = subgroupMatrixMultiplyAccumulate(a, b[j], acc[i][j]); }
        }
      }
      //! part ends
      workgroupBarrier();
      continuing {
        left--;
        break if left == 0u;
      }
    }

    for (var i = 0u; i < SM; i++) {
      //! part shared/matrix_tile_store.wgsl
      if (subgroup < SGS) {
        for (var j = 0u; j < SN; j++) {
          subgroupMatrixStore<row_major>(&sh, subgroup * MM * Y_STRIDE + j * (NN / 4u), acc[i][j], Y_STRIDE);
        }
      }
      workgroupBarrier();
      //! part ends
      for (var s = lane; s < Y_COUNT; s += WG) {
        let r = s / Y_ROW;
        let part = r / MM;
        let row = p0 + (part / SGX * SM + i) * MM + r % MM;
        put(row, q0 + part % SGX * SN * NN / 4u + s % Y_ROW, slot, bitcast<vec4<f32>>(sh[r * Y_STRIDE + s % Y_ROW]), index == begin);
      }
      workgroupBarrier();
    }
  }
}
