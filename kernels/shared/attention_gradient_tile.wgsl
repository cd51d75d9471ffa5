// shared/attention_gradient_tile.wgsl — the register tile of attention's gradient: threads over OWN rows and WALK rows
//
// Expects   4 threads' rows to be whole: OWN a multiple of ROWS, WALK of 4
// Gives     sh_a, sh_b: the own rows, of two operands · sh_walk: rows of another, row r the one at 4·(r mod TX) + r/TX · sh_s: a value for
//           each own and each walked row, 4 of the latter a vector

//! specialise
const D4: u32 = 16u;
const OWN: u32 = 32u;
const WALK: u32 = 32u;
const ROWS: u32 = 4u;
//! end
const LOG2_E: f32 = 1.4426950408889634;

const TX: u32 = WALK / 4u;
const TY: u32 = OWN / ROWS;
const WG: u32 = TX * TY;
const COLUMNS: u32 = (D4 + TX - 1u) / TX;
const STRIDE: u32 = D4 + 1u;
const S_STRIDE: u32 = TX + 1u;
const LOADS: u32 = (WALK * D4 + WG - 1u) / WG;

// A vector of a row by one of each of four rows.
fn products(a: vec4<f32>, b0: vec4<f32>, b1: vec4<f32>, b2: vec4<f32>, b3: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
  var s = fma(vec4<f32>(a.x), vec4<f32>(b0.x, b1.x, b2.x, b3.x), sum);
  s = fma(vec4<f32>(a.y), vec4<f32>(b0.y, b1.y, b2.y, b3.y), s);
  s = fma(vec4<f32>(a.z), vec4<f32>(b0.z, b1.z, b2.z, b3.z), s);
  return fma(vec4<f32>(a.w), vec4<f32>(b0.w, b1.w, b2.w, b3.w), s);
}

alias Sums = array<array<vec4<f32>, COLUMNS>, ROWS>;
var<workgroup> sh_a: array<vec4<f32>, OWN * STRIDE>;
var<workgroup> sh_b: array<vec4<f32>, OWN * STRIDE>;
var<workgroup> sh_walk: array<vec4<f32>, WALK * STRIDE>;
var<workgroup> sh_s: array<vec4<f32>, OWN * S_STRIDE>;

// A thread's own rows of sh_a by its walked ones.
fn products_a(tx: u32, ty: u32) -> array<vec4<f32>, ROWS> {
  // Initialised explicitly: some WGSL compilers hoist the variable and clear it only once.
  var s = array<vec4<f32>, ROWS>();
  for (var d = 0u; d < D4; d++) {
    let w0 = sh_walk[tx * STRIDE + d];
    let w1 = sh_walk[(tx + TX) * STRIDE + d];
    let w2 = sh_walk[(tx + 2u * TX) * STRIDE + d];
    let w3 = sh_walk[(tx + 3u * TX) * STRIDE + d];
    for (var i = 0u; i < ROWS; i++) { s[i] = products(sh_a[(ty + i * TY) * STRIDE + d], w0, w1, w2, w3, s[i]); }
  }
  return s;
}
fn products_b(tx: u32, ty: u32) -> array<vec4<f32>, ROWS> {
  var s = array<vec4<f32>, ROWS>();
  for (var d = 0u; d < D4; d++) {
    let w0 = sh_walk[tx * STRIDE + d];
    let w1 = sh_walk[(tx + TX) * STRIDE + d];
    let w2 = sh_walk[(tx + 2u * TX) * STRIDE + d];
    let w3 = sh_walk[(tx + 3u * TX) * STRIDE + d];
    for (var i = 0u; i < ROWS; i++) { s[i] = products(sh_b[(ty + i * TY) * STRIDE + d], w0, w1, w2, w3, s[i]); }
  }
  return s;
}

// sums += sh_s · sh_walk
fn add(sums: ptr<function, Sums>, tx: u32, ty: u32) {
  for (var n = 0u; n < TX; n++) {
    var s: array<vec4<f32>, ROWS>;
    for (var i = 0u; i < ROWS; i++) { s[i] = sh_s[(ty + i * TY) * S_STRIDE + n]; }
    for (var c = 0u; c < COLUMNS; c++) {
      for (var j = 0u; j < 4u; j++) {
        let value = sh_walk[(n + j * TX) * STRIDE + min(tx + c * TX, D4 - 1u)];
        for (var i = 0u; i < ROWS; i++) { (*sums)[i][c] = fma(vec4<f32>(s[i][j]), value, (*sums)[i][c]); }
      }
    }
  }
}
