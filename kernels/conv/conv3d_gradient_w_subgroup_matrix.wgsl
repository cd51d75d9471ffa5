// conv3d_gradient_w_subgroup_matrix.wgsl — the gradient with respect to a convolution's weight, in f16, for GPUs with matrix units
//
// Shapes    dy and x f16, else as in conv3d_gradient_w_tiled.wgsl
// Matrices  as in matmul_subgroup_matrix.wgsl, f16 in and f32 sums
// Work      as in matmul_tn_subgroup_matrix.wgsl: one workgroup per slot and BM × BN tile of y, SGX · SGY subgroups of SM × SN matrices of
//           sums. Tiles of BK positions are staged in workgroup memory by channel, 8 positions to a word of it: blocks of 8 × 8 halves are
//           turned in registers on the way. A thread fetches the same blocks of every tile, so the tap and channel of one of x are
//           worked out once a piece, and rows and columns of its positions are counted on, without divisions.
// Order     as in conv3d_gradient_w_tiled.wgsl
// Dispatch  (ceil(4·q4/BN) · ceil(P/BM) · slots, folded, 1); neighbours share channels of dy
// Cost      2·B·T'·H'·W'·N·Cin·taps flops; BM·BN/(BM + BN) = 64 flops a byte of memory at 128 × 128; compute bound
// Banks     A channel has an odd number of 16-byte words
// Needs     channels of dy and x a multiple of 8 (checked in src/ops/conv3d/weight-variants.ts) · SUBGROUP: the adapter's largest subgroup
// Numerics  f16 products, f32 sums, in the order of the positions
enable f16, subgroups, chromium_experimental_subgroup_matrix;
// A subgroup's lanes agree on what it does: lane / subgroup_size is the same in all of them, which the compiler cannot know.
diagnostic(off, chromium.subgroup_matrix_uniformity);
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
//! end
// Eight halves a word; the params still count in fours.
@group(0) @binding(1) var<storage, read> dy: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;
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

// w: of 8 inputs, 8 rows each. They become 8 words from `to` on, STRIDE apart.
fn turn(to: u32, w: array<vec4<u32>, 8>) {
  for (var j = 0u; j < 4u; j++) {
    sh[to + 2u * j * STRIDE] = vec4<u32>(
      lower_pair(w[0][j], w[1][j]), lower_pair(w[2][j], w[3][j]), lower_pair(w[4][j], w[5][j]), lower_pair(w[6][j], w[7][j]));
    sh[to + (2u * j + 1u) * STRIDE] = vec4<u32>(
      upper_pair(w[0][j], w[1][j]), upper_pair(w[2][j], w[3][j]), upper_pair(w[4][j], w[5][j]), upper_pair(w[6][j], w[7][j]));
  }
}
//! part ends
// Blocks of 8 positions × 8 channels of dy and of x, and those of one thread.
const A_BLOCKS: u32 = BM / 8u * KV;
const B_BLOCKS: u32 = BN / 8u * KV;
const OWN: u32 = (A_BLOCKS + B_BLOCKS + WG - 1u) / WG;

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
  // BK positions on: so many rows and columns.
  let rows_on = BK / params.w_out;
  let columns_on = BK % params.w_out;

  let begin = slot * params.each;
  let end = min(begin + params.each, params.pieces);
  for (var index = begin; index < end; index++) {
    let piece = piece_of(index);
    let last = piece.count - 1u;
    // Of each of the thread's blocks of x: where it looks, and the row and column of its first position. Words past the end are the last
    // once more; their results are not stored.
    var column: array<Column, OWN>;
    var row_at: array<u32, OWN>;
    var column_at: array<u32, OWN>;
    for (var i = 0u; i < OWN; i++) {
      let of_x = max(lane + i * WG, A_BLOCKS) - A_BLOCKS;
      column[i] = column_of(min(q0 + of_x / KV * 2u, params.q4 - 2u), piece);
      row_at[i] = of_x % KV * 8u / params.w_out;
      column_at[i] = of_x % KV * 8u % params.w_out;
    }
    var acc: array<array<subgroup_matrix_result<f32, NN, MM>, SN>, SM>;
    for (var i = 0u; i < SM; i++) {
      for (var j = 0u; j < SN; j++) { acc[i][j] = subgroup_matrix_result<f32, NN, MM>(); }
    }
    for (var t0 = 0u; t0 < piece.count; t0 += BK) {
      for (var i = 0u; i < OWN; i++) {
        let at = lane + i * WG;
        var block: array<vec4<u32>, 8>;
        if (at < A_BLOCKS) {
          let word = min(p0 / 8u + at / KV, params.p4 / 2u - 1u);
          let t = t0 + at % KV * 8u;
          for (var k = 0u; k < 8u; k++) { block[k] = dy[(piece.dy + min(t + k, last) * params.p4) / 2u + word]; }
          // Positions past the end add nothing.
          if (t0 + BK > piece.count) {
            for (var k = 0u; k < 8u; k++) { block[k] = select(vec4<u32>(), block[k], t + k < piece.count); }
          }
          turn(at / KV * 8u * STRIDE + at % KV, block);
        } else if (at < A_BLOCKS + B_BLOCKS) {
          let of_x = at - A_BLOCKS;
          var row = row_at[i];
          var along = column_at[i];
          for (var k = 0u; k < 8u; k++) {
            let there = look(column[i], row, along);
            block[k] = select(vec4<u32>(), x[there.at / 2u], there.inside);
            along++;
            if (along == params.w_out) { along = 0u; row++; }
          }
          row_at[i] += rows_on;
          column_at[i] += columns_on;
          if (column_at[i] >= params.w_out) { column_at[i] -= params.w_out; row_at[i]++; }
          turn(W_BASE + of_x / KV * 8u * STRIDE + of_x % KV, block);
        }
      }
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
