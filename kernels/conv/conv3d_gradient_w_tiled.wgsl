// conv3d_gradient_w_tiled.wgsl — the gradient with respect to a convolution's weight, as a matmul over positions, for GPUs
//
// Shapes    dy [B, T', H', W', P] · x [B, T, H, W, Cin], read as conv3d_tiled.wgsl reads it · y [slots][N][taps · Cin], which
//           conv3d_weight_sums.wgsl sums into [N, Cin, KT, KH, KW]
// Work      a matmul dyᵀ · x without x unfolded: one workgroup per slot and BM × BN tile of y; a thread owns TM/4 vectors of channels of
//           dy × TN of columns in registers, TY and TX vectors apart. Tiles of BK positions are staged in workgroup memory as they lie; the
//           next one is fetched into registers while this one is used. A thread fetches one vector of columns for several positions, so
//           its tap and channel are worked out once a piece; rows and columns of the positions are counted on, without divisions.
// Order     Sums of a piece are whole before they are added to those of the pieces before it: so a sum over frames is the same however
//           they are dealt to workgroups and dispatches
// Dispatch  (ceil(4·q4/BN) · ceil(P/BM) · slots, folded, 1); neighbours share channels of dy
// Cost      2·B·T'·H'·W'·N·Cin·taps flops; BM·BN/(2·(BM + BN)) = 32 flops a byte of memory at 128 × 128 in f32; compute bound
// Banks     as in matmul_tn_tiled.wgsl
// Needs     channels padded to a multiple of 4 · BM/4 and BN/4 divide WG (chosen in src/ops/conv3d/weight-variants.ts)
// Numerics  f32 accumulation for every storage type, in the order of the positions
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
alias G = f32;
alias X = f32;
const BM: u32 = 64u;
const BN: u32 = 64u;
const BK: u32 = 16u;
const TM: u32 = 4u;
const TN: u32 = 1u;
//! end
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
const TV: u32 = TM / 4u;
const TX: u32 = BN / (4u * TN);
const TY: u32 = BM / TM;
const WG: u32 = TX * TY;
// Vectors of a position, and positions that the workgroup fetches at once.
const AV: u32 = BM / 4u;
const BV: u32 = BN / 4u;
const A_STEP: u32 = WG / AV;
const B_STEP: u32 = WG / BV;
const A_LOADS: u32 = (BK + A_STEP - 1u) / A_STEP;
const B_LOADS: u32 = (BK + B_STEP - 1u) / B_STEP;
var<workgroup> sh_a: array<vec4<f32>, BK * AV>;
var<workgroup> sh_b: array<vec4<f32>, BK * BV>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group >= params.groups) { return; }
  let slot = group / params.tiles;
  let tile = group % params.tiles;
  let tiles_q = (4u * params.q4 + BN - 1u) / BN;
  let p0 = tile / tiles_q * BM;
  let q0 = tile % tiles_q * BV;
  let tx = lane % TX;
  let ty = lane / TX;
  // What this thread fetches. Vectors past the end are the last once more; their results are not stored.
  let own_a = min(p0 / 4u + lane % AV, params.p4 - 1u);
  let k_a = lane / AV;
  let k_b = lane / BV;
  // BK positions on: so many rows and columns.
  let rows_on = BK / params.w_out;
  let columns_on = BK % params.w_out;

  let begin = slot * params.each;
  let end = min(begin + params.each, params.pieces);
  for (var index = begin; index < end; index++) {
    let piece = piece_of(index);
    let column = column_of(q0 + lane % BV, piece);
    let last = piece.count - 1u;
    var row_at: array<u32, B_LOADS>;
    var column_at: array<u32, B_LOADS>;
    var a_next: array<vec4<G>, A_LOADS>;
    var b_next: array<vec4<X>, B_LOADS>;
    var inside: array<bool, B_LOADS>;
    for (var i = 0u; i < A_LOADS; i++) { a_next[i] = dy[piece.dy + min(k_a + i * A_STEP, last) * params.p4 + own_a]; }
    for (var i = 0u; i < B_LOADS; i++) {
      row_at[i] = (k_b + i * B_STEP) / params.w_out;
      column_at[i] = (k_b + i * B_STEP) % params.w_out;
      let there = look(column, row_at[i], column_at[i]);
      b_next[i] = x[there.at];
      inside[i] = there.inside;
    }
    // Written out: drivers were seen to clear a variable of a loop's body once, not each time.
    var acc = array<array<vec4<f32>, TN>, TM>();
    for (var t = 0u; t < piece.count; t += BK) {
      for (var i = 0u; i < A_LOADS; i++) {
        let k = k_a + i * A_STEP;
        // Positions past the end add nothing.
        if (BK % A_STEP == 0u || k < BK) { sh_a[k * AV + lane % AV] = select(vec4<f32>(), vec4<f32>(a_next[i]), t + k < piece.count); }
      }
      for (var i = 0u; i < B_LOADS; i++) {
        let k = k_b + i * B_STEP;
        if (BK % B_STEP == 0u || k < BK) { sh_b[k * BV + lane % BV] = select(vec4<f32>(), vec4<f32>(b_next[i]), inside[i]); }
      }
      workgroupBarrier();
      for (var i = 0u; i < A_LOADS; i++) { a_next[i] = dy[piece.dy + min(t + BK + k_a + i * A_STEP, last) * params.p4 + own_a]; }
      for (var i = 0u; i < B_LOADS; i++) {
        row_at[i] += rows_on;
        column_at[i] += columns_on;
        if (column_at[i] >= params.w_out) { column_at[i] -= params.w_out; row_at[i]++; }
        let there = look(column, row_at[i], column_at[i]);
        b_next[i] = x[there.at];
        inside[i] = there.inside;
      }
      //! part shared/tn_tile_multiply.wgsl
      for (var k = 0u; k < BK / 4u; k++) {
        for (var c = 0u; c < 4u; c++) {
          var own: array<vec4<f32>, TN>;
          for (var j = 0u; j < TN; j++) { own[j] = sh_b[(k * 4u + c) * BV + j * TX + tx]; }
          for (var i = 0u; i < TV; i++) {
            let v = sh_a[(k * 4u + c) * AV + i * TY + ty];
            for (var r = 0u; r < 4u; r++) {
              for (var j = 0u; j < TN; j++) { acc[i * 4u + r][j] = fma(vec4<f32>(v[r]), own[j], acc[i * 4u + r][j]); }
            }
          }
        }
      }
      //! part ends
      workgroupBarrier();
    }
    for (var i = 0u; i < TM; i++) {
      for (var j = 0u; j < TN; j++) { put(p0 + (i / 4u * TY + ty) * 4u + i % 4u, q0 + j * TX + tx, slot, acc[i][j], index == begin); }
    }
  }
}
