// shared/unpack.wgsl — a weight as it is stored → the layout and type in which kernels read it (src/graph/packing.ts)
//
// Expects   `quad`, `RAW`, `narrow`, `count_loss`, `report_loss`
//
// A dispatch has a part of a weight: some rows of the packed weight. Of a panel, a vector or a word that it has only in part it keeps what
// others have written. Values are worked on by their bits, so that a NaN or an infinity stays what it is and rounding to f16 is ours.

//! specialise
@group(0) @binding(0) var<uniform> params: Params;
// How y lies: 0 panels, 1 rows, 2 end to end
const LAYOUT: u32 = 0u;
// y is f16
const HALF: bool = false;
// Rows have more than one tap
const TAPS: bool = false;
// Rows are multiplied with `scales`
const SCALED: bool = false;
// `change` is added
const LORA: bool = false;
// Quads, or 4 x 4 values of panels, of a thread
const ITEMS: u32 = 1u;
//! end
// count: items of y · first, rows: where x begins in y and how many there are, out: how many y has; all three in rows, or values where
// LAYOUT is 2 · inner, taps: of a row · padded: inputs of a row of y · x_byte: the byte of x's binding that x begins at ·
// y_quad: the quad of y's binding that y begins at · row: the row of `scales` that x begins at · step: 0 where all rows have one scale ·
// changed: the row of `change` that x begins at
struct Params {
  count: u32, first: u32, rows: u32, out: u32, inner: u32, taps: u32, padded: u32, x_byte: u32, y_quad: u32,
  row: u32, step: u32, changed: u32,
}
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<u32>>;
// [rows] or [1]
@group(0) @binding(3) var<storage, read> scales: array<f32>;
// [rows][taps][inner / 4] (low_rank_product)
@group(0) @binding(4) var<storage, read> change: array<vec4<f32>>;

const NEXT = vec4<u32>(0u, 1u, 2u, 3u);

// The value at e, in a vector.
fn one(e: u32) -> u32 { return quad(e & ~3u)[e & 3u]; }

// 4 inputs of a row of x, from one that is a multiple of 4 on; zeros past the row's end.
fn values(row: u32, inner: u32, tap: u32) -> vec4<u32> {
  let inside = inner + NEXT < vec4<u32>(params.inner);
  let e = select(row * params.inner + inner, (row * params.inner + inner) * params.taps + tap, TAPS);
  var v: vec4<u32>;
  if (!TAPS) {
    v = quad(e);
  } else {
    for (var k = 0u; k < min(4u, params.inner - inner); k++) { v[k] = one(e + k * params.taps); }
  }
  v = select(vec4<u32>(0u), v, inside);
  return scaled(v, row);
}

fn scaled(v: vec4<u32>, row: u32) -> vec4<u32> {
  if (!SCALED) { return v; }
  let product = bitcast<vec4<u32>>(bitcast<vec4<f32>>(v) * scales[(params.row + row) * params.step]);
  return select(product, v, (v & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u)); // a NaN stays one
}

// W and its change for one row.
fn changed(v: vec4<u32>, row: u32, inner: u32, tap: u32) -> vec4<u32> {
  let width = (params.inner + 3u) / 4u;
  let sum = bitcast<vec4<f32>>(v) + change[((params.changed + row) * params.taps + tap) * width + inner / 4u];
  return select(vec4<u32>(0u), bitcast<vec4<u32>>(sum), inner + NEXT < vec4<u32>(params.inner));
}

// 4 values of y; where `keep`, what lies there.
fn put(at: u32, v: vec4<u32>, keep: vec4<bool>) {
  let place = params.y_quad + at;
  if (HALF) {
    var half = v;
    if (!RAW) { half = narrow(v); }
    if (any(keep)) {
      let old = y[place];
      half = select(half, vec4<u32>(old.x & 0xffffu, old.x >> 16u, old.y & 0xffffu, old.y >> 16u), keep);
    }
    y[place] = vec2<u32>(half.x | (half.y << 16u), half.z | (half.w << 16u));
  } else {
    var word = v;
    if (any(keep)) { word = select(word, vec4<u32>(y[2u * place], y[2u * place + 1u]), keep); }
    y[2u * place] = word.xy;
    y[2u * place + 1u] = word.zw;
  }
}

// 4 outputs of 4 inputs of a panel. Four threads have 16 outputs, the next ones the next inputs: what a wave writes is one piece.
fn panel(i: u32) {
  let inner = i / 4u % (params.padded / 4u) * 4u;
  let rest = i / params.padded;
  let tap = rest % params.taps;
  let out = rest / params.taps * 16u + i % 4u * 4u;
  let row = out - params.first;
  let mine = row + NEXT < vec4<u32>(params.rows);
  let keep = !mine & (out + NEXT < vec4<u32>(params.out));
  if (all(keep)) { return; }
  var a: vec4<u32>;
  var b: vec4<u32>;
  var c: vec4<u32>;
  var d: vec4<u32>;
  if (mine.x) { a = values(row, inner, tap); }
  if (mine.y) { b = values(row + 1u, inner, tap); }
  if (mine.z) { c = values(row + 2u, inner, tap); }
  if (mine.w) { d = values(row + 3u, inner, tap); }
  if (LORA) {
    if (mine.x) { a = changed(a, row, inner, tap); }
    if (mine.y) { b = changed(b, row + 1u, inner, tap); }
    if (mine.z) { c = changed(c, row + 2u, inner, tap); }
    if (mine.w) { d = changed(d, row + 3u, inner, tap); }
  }
  if (LOSS) {
    count_loss(a);
    count_loss(b);
    count_loss(c);
    count_loss(d);
  }
  let at = (rest * params.padded + inner) * 4u + i % 4u;
  put(at, vec4<u32>(a.x, b.x, c.x, d.x), keep);
  put(at + 4u, vec4<u32>(a.y, b.y, c.y, d.y), keep);
  put(at + 8u, vec4<u32>(a.z, b.z, c.z, d.z), keep);
  put(at + 12u, vec4<u32>(a.w, b.w, c.w, d.w), keep);
}

// 4 inputs of a row.
fn row_quad(i: u32) {
  let inner = i % (params.padded / 4u) * 4u;
  let rest = i / (params.padded / 4u);
  let tap = rest % params.taps;
  let out = rest / params.taps;
  let row = out - params.first;
  var v: vec4<u32>;
  if (row < params.rows) {
    v = values(row, inner, tap);
    if (LORA) { v = changed(v, row, inner, tap); }
    if (LOSS) { count_loss(v); }
  } else if (out < params.out) { return; }
  put(i, v, vec4<bool>(false));
}

// 4 values of any rows.
fn flat(i: u32) {
  let at = i * 4u + NEXT;
  let e = at - params.first;
  let mine = e < vec4<u32>(params.rows);
  let keep = !mine & (at < vec4<u32>(params.out));
  if (all(keep)) { return; }
  var v: vec4<u32>;
  for (var k = 0u; k < 4u; k++) {
    if (!mine[k]) { continue; }
    var value = vec4<u32>(one(e[k]));
    let row = e[k] / params.inner;
    let inner = e[k] % params.inner;
    if (SCALED) { value = scaled(value, row); }
    if (LORA) { value = vec4<u32>(changed(value, row, inner & ~3u, 0u)[inner & 3u]); }
    v[k] = value.x;
  }
  if (LOSS) { count_loss(v); }
  put(i, v, keep);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = wid.y * groups.x + wid.x;
  for (var k = 0u; k < ITEMS; k++) {
    let i = (group * ITEMS + k) * 64u + lane;
    if (i >= params.count) { break; }
    if (LAYOUT == 0u) { panel(i); } else if (LAYOUT == 1u) { row_quad(i); } else { flat(i); }
  }
  if (LOSS) { report_loss(group, lane); }
}
