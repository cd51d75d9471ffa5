/**
 * What `cogwheel data` computes of every frame (src/curation/curves), as a WebAssembly module with vectors of 128 bits. AssemblyScript: its
 * compiler reads this file, build.mjs writes build/pixels.ts, and src/curation/curves/pixels.ts says where in memory things lie. All
 * arithmetic is IEEE's, in the order in which it stands here: every machine gives the same bytes.
 */

/** Two values of f32 as f64. */
function two(at: usize): v128 {
  return f64x2.promote_low_f32x4(v128.load64_zero(at));
}
function one(at: usize): f64 {
  return f64(load<f32>(at));
}
/** The i32 of two vectors, of each the lower two. */
function joined(low: v128, high: v128): v128 {
  return i8x16.shuffle(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
}
function upper(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
}
/** Four values of f64, rounded and held in 0 … 255, as i32. */
function bytes(low: v128, high: v128): v128 {
  const half = f64x2.splat(0.5);
  const whole = joined(i32x4.trunc_sat_f64x2_s_zero(f64x2.add(low, half)), i32x4.trunc_sat_f64x2_s_zero(f64x2.add(high, half)));
  return i32x4.max_s(i32x4.min_s(whole, i32x4.splat(255)), i32x4.splat(0));
}

/** Of numerators, ranges and sixths (0, 2 or 4): hues of 0 … 179, of which no fraction is kept; 0 where the range is. */
function hues(numerator: v128, range: v128, sixths: v128): v128 {
  const turns = f64x2.add(
    f64x2.convert_low_i32x4_s(sixths),
    f64x2.div(f64x2.convert_low_i32x4_s(numerator), f64x2.convert_low_i32x4_s(range)),
  );
  const hue = f64x2.mul(f64x2.splat(30), turns);
  const below = f64x2.lt(hue, f64x2.splat(0));
  return i32x4.trunc_sat_f64x2_s_zero(f64x2.add(hue, v128.and(below, f64x2.splat(180))));
}

/** Four pixels of luma, red, green and blue (i32, 0 … 255) to luma, hue, saturation and value, planes of `plane` bytes from `out` on. */
function put(out: usize, plane: usize, luma: v128, r: v128, g: v128, b: v128): void {
  const most = i32x4.max_s(r, i32x4.max_s(g, b));
  const range = i32x4.sub(most, i32x4.min_s(r, i32x4.min_s(g, b)));
  const isRed = i32x4.eq(most, r);
  const isGreen = i32x4.eq(most, g);
  const numerator = v128.bitselect(i32x4.sub(g, b), v128.bitselect(i32x4.sub(b, r), i32x4.sub(r, g), isGreen), isRed);
  const sixths = v128.andnot(v128.bitselect(i32x4.splat(2), i32x4.splat(4), isGreen), isRed);
  const hue = joined(hues(numerator, range, sixths), hues(upper(numerator), upper(range), upper(sixths)));
  // In f32 too no quotient of such numbers reaches the next whole one.
  const saturation = i32x4.trunc_sat_f32x4_s(
    f32x4.div(f32x4.convert_i32x4_s(i32x4.mul(range, i32x4.splat(255))), f32x4.convert_i32x4_s(most)),
  );
  const all = i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(luma, hue), i16x8.narrow_i32x4_s(saturation, most));
  v128.store32_lane(out, all, 0);
  v128.store32_lane(out + plane, all, 1);
  v128.store32_lane(out + 2 * plane, all, 2);
  v128.store32_lane(out + 3 * plane, all, 3);
}

/** Four i16 as f64: the first two, or the others. */
function wide(at: usize): v128 {
  return f64x2.convert_low_i32x4_s(i32x4.extend_low_i16x8_s(v128.load32_zero(at)));
}

/**
 * Pixels of luma and chroma (i16: sums of luma; chroma from −128 on) to planes; `plane` is their number, up to a multiple of 4.
 * Luma is `lumaGain` · y − `black`. BT.709.
 */
export function fromSamples(y: usize, u: usize, v: usize, lumaGain: f64, black: f64, chromaGain: f64, out: usize, plane: usize): void {
  const gain = f64x2.splat(lumaGain);
  const zero = f64x2.splat(black);
  const chroma = f64x2.splat(chromaGain);
  for (let i: usize = 0; i < plane; i += 4) {
    const y0 = f64x2.sub(f64x2.mul(wide(y + 2 * i), gain), zero);
    const y1 = f64x2.sub(f64x2.mul(wide(y + 2 * i + 4), gain), zero);
    const u0 = f64x2.mul(wide(u + 2 * i), chroma);
    const u1 = f64x2.mul(wide(u + 2 * i + 4), chroma);
    const v0 = f64x2.mul(wide(v + 2 * i), chroma);
    const v1 = f64x2.mul(wide(v + 2 * i + 4), chroma);
    const vr = f64x2.splat(1.5748);
    const ug = f64x2.splat(0.1873);
    const vg = f64x2.splat(0.4681);
    const ub = f64x2.splat(1.8556);
    put(
      out + i,
      plane,
      bytes(y0, y1),
      bytes(f64x2.add(y0, f64x2.mul(v0, vr)), f64x2.add(y1, f64x2.mul(v1, vr))),
      bytes(f64x2.sub(f64x2.sub(y0, f64x2.mul(u0, ug)), f64x2.mul(v0, vg)), f64x2.sub(f64x2.sub(y1, f64x2.mul(u1, ug)), f64x2.mul(v1, vg))),
      bytes(f64x2.add(y0, f64x2.mul(u0, ub)), f64x2.add(y1, f64x2.mul(u1, ub))),
    );
  }
}

function lumaOf(r: v128, g: v128, b: v128): v128 {
  return f64x2.add(f64x2.add(f64x2.mul(f64x2.splat(0.2126), r), f64x2.mul(f64x2.splat(0.7152), g)), f64x2.mul(f64x2.splat(0.0722), b));
}

/** The same of red, green and blue (i16, 0 … 255). */
export function fromRgb(r: usize, g: usize, b: usize, out: usize, plane: usize): void {
  for (let i: usize = 0; i < plane; i += 4) {
    const at: usize = 2 * i;
    put(
      out + i,
      plane,
      bytes(lumaOf(wide(r + at), wide(g + at), wide(b + at)), lumaOf(wide(r + at + 4), wide(g + at + 4), wide(b + at + 4))),
      i32x4.extend_low_i16x8_s(v128.load64_zero(r + at)),
      i32x4.extend_low_i16x8_s(v128.load64_zero(g + at)),
      i32x4.extend_low_i16x8_s(v128.load64_zero(b + at)),
    );
  }
}

function apart(a: v128, b: v128): v128 {
  return v128.or(i8x16.sub_sat_u(a, b), i8x16.sub_sat_u(b, a));
}
function added(sum: v128, values: v128): v128 {
  return i32x4.add(sum, i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(values)));
}
function total(v: v128): i32 {
  return i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1) + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3);
}
function distance(a: i32, b: i32): i32 {
  return a > b ? a - b : b - a;
}

/** Sum of absolute differences of bytes. */
export function difference(a: usize, b: usize, count: usize): i32 {
  let sums = i32x4.splat(0);
  let i: usize = 0;
  for (; i + 16 <= count; i += 16) sums = added(sums, apart(v128.load(a + i), v128.load(b + i)));
  let sum = total(sums);
  for (; i < count; i++) sum += distance(load<u8>(a + i), load<u8>(b + i));
  return sum;
}

/** The same of hues, on their circle of 180. */
export function hueDifference(a: usize, b: usize, count: usize): i32 {
  let sums = i32x4.splat(0);
  let i: usize = 0;
  for (; i + 16 <= count; i += 16) {
    const turn = apart(v128.load(a + i), v128.load(b + i));
    sums = added(sums, i8x16.min_u(turn, i8x16.sub(i8x16.splat(i8(180)), turn)));
  }
  let sum = total(sums);
  for (; i < count; i++) {
    const turn = distance(load<u8>(a + i), load<u8>(b + i));
    sum += min(turn, 180 - turn);
  }
  return sum;
}

/** Eight samples as i16. */
function eight(at: usize, isWide: bool): v128 {
  return isWide ? v128.load(at) : v128.load8x8_u(at);
}
function sample(at: usize, isWide: bool): i32 {
  return isWide ? i32(load<u16>(at)) : i32(load<u8>(at));
}

/**
 * Adds the Laplacians (4 neighbours) of a row's inner samples, and their squares, to two f64 at `sums`. Samples are bytes, or 16 bits of
 * which at most 12 are used.
 * @param row its first sample; a row is before it and one behind
 * @param stride bytes from row to row
 */
export function laplacian(row: usize, stride: usize, width: usize, isWide: bool, sums: usize): void {
  const size: usize = isWide ? 2 : 1;
  let sum = i32x4.splat(0);
  let squares = i64x2.splat(0);
  let x: usize = 1;
  for (; x + 8 < width; x += 8) {
    const at = row + x * size;
    const across = i16x8.add(eight(at - size, isWide), eight(at + size, isWide));
    const down = i16x8.add(eight(at - stride, isWide), eight(at + stride, isWide));
    const value = i16x8.sub(i16x8.add(across, down), i16x8.shl(eight(at, isWide), 2));
    sum = i32x4.add(sum, i32x4.extadd_pairwise_i16x8_s(value));
    const square = i32x4.dot_i16x8_s(value, value);
    squares = i64x2.add(squares, i64x2.add(i64x2.extend_low_i32x4_u(square), i64x2.extend_high_i32x4_u(square)));
  }
  let all = i64(total(sum));
  let allSquares = i64x2.extract_lane(squares, 0) + i64x2.extract_lane(squares, 1);
  for (; x + 1 < width; x++) {
    const at = row + x * size;
    const value = i64(
      sample(at - size, isWide) +
        sample(at + size, isWide) +
        sample(at - stride, isWide) +
        sample(at + stride, isWide) -
        4 * sample(at, isWide),
    );
    all += value;
    allSquares += value * value;
  }
  store<f64>(sums, load<f64>(sums) + f64(all));
  store<f64>(sums + 8, load<f64>(sums + 8) + f64(allSquares));
}

const SIDE: i32 = 32;
const LOW: i32 = 8;

/** Means of areas as a square of 32 × 32 f32; each pixel is in the one that its corner lies in. */
export function shrink(luma: usize, width: i32, height: i32, square: usize): void {
  const isSmall = width < SIDE || height < SIDE;
  for (let y: i32 = 0; y < SIDE; y++) {
    const top = (y * height) / SIDE;
    const bottom = isSmall ? top + 1 : ((y + 1) * height) / SIDE;
    for (let x: i32 = 0; x < SIDE; x++) {
      const left = (x * width) / SIDE;
      const right = isSmall ? left + 1 : ((x + 1) * width) / SIDE;
      let sum: i32 = 0;
      for (let row = top; row < bottom; row++)
        for (let column = left; column < right; column++) sum += load<u8>(luma + row * width + column);
      store<f32>(square, f32(f64(sum) / f64((bottom - top) * (right - left))));
      square += 4;
    }
  }
}

/**
 * The lowest 8 × 8 frequencies of a square, f64.
 * @param cosines f64, those of 8 frequencies for each of 32 places
 * @param rows room for 32 × 8 f32
 */
export function lowest(square: usize, cosines: usize, rows: usize, low: usize): void {
  for (let y: usize = 0; y < 32; y++)
    for (let u: usize = 0; u < 8; u += 2) {
      let sum = f64x2.splat(0);
      for (let x: usize = 0; x < 32; x++)
        sum = f64x2.add(sum, f64x2.mul(f64x2.splat(one(square + 4 * (32 * y + x))), v128.load(cosines + 8 * (8 * x + u))));
      v128.store64_lane(rows + 4 * (8 * y + u), f32x4.demote_f64x2_zero(sum), 0);
    }
  for (let v: usize = 0; v < 8; v++)
    for (let u: usize = 0; u < 8; u += 2) {
      let sum = f64x2.splat(0);
      for (let y: usize = 0; y < 32; y++)
        sum = f64x2.add(sum, f64x2.mul(two(rows + 4 * (8 * y + u)), v128.load64_splat(cosines + 8 * (8 * y + v))));
      v128.store(low + 8 * (8 * v + u), sum);
    }
}

/** Means of the square's 8 × 8 parts, rounded, as bytes. */
export function parts(square: usize, out: usize): void {
  const side = SIDE / LOW;
  for (let part: i32 = 0; part < LOW * LOW; part++) {
    const first = side * ((part / LOW) * SIDE + (part % LOW));
    let sum: f64 = 0;
    for (let i: i32 = 0; i < side * side; i++) sum += one(square + 4 * (first + (i / side) * SIDE + (i % side)));
    store<u8>(out + part, u8(Math.floor(sum / f64(side * side) + 0.5)));
  }
}

/** Bytes as f32. */
export function widen(from: usize, to: usize, count: i32): void {
  for (let i: i32 = 0; i < count; i++) store<f32>(to + 4 * i, f32(load<u8>(from + i)));
}

/** A picture of f32 at half its size; every value is exact. */
export function halve(from: usize, fromWidth: i32, to: usize, width: i32, height: i32): void {
  for (let y: i32 = 0; y < height; y++)
    for (let x: i32 = 0; x < width; x++) {
      const at = from + 4 * (2 * y * fromWidth + 2 * x);
      const below = at + 4 * fromWidth;
      store<f32>(to, (load<f32>(at) + load<f32>(at, 4) + load<f32>(below) + load<f32>(below, 4)) / 4);
      to += 4;
    }
}

const BLOCK: i32 = 8;
const ITERATIONS: i32 = 4;
/** What flat blocks are held in place with: gradients of noise, summed over a block. */
const DAMPING: f64 = 60;
/** From a picture's far edges: between two pixels, so that there is one to the right and below. */
const BETWEEN: f64 = 1.001;

/**
 * The flow of a picture's blocks of 8 × 8, in f32 at `across` and `down`: steps of Gauss and Newton, from where the level of half the size
 * left it.
 * @param gradients room for 64 × 2 f64
 * @param coarserRows 0 at the coarsest level
 */
export function flow(
  before: usize,
  after: usize,
  width: i32,
  height: i32,
  columns: i32,
  rows: i32,
  across: usize,
  down: usize,
  gradients: usize,
  coarserAcross: usize,
  coarserDown: usize,
  coarserColumns: i32,
  coarserRows: i32,
): void {
  for (let row: i32 = 0; row < rows; row++)
    for (let column: i32 = 0; column < columns; column++) {
      const left = 1 + column * BLOCK;
      const top = 1 + row * BLOCK;
      const place = before + 4 * (top * width + left);
      let u: f64 = 0;
      let v: f64 = 0;
      if (coarserRows > 0) {
        const from = 4 * (min(coarserRows - 1, row >> 1) * coarserColumns + min(coarserColumns - 1, column >> 1));
        u = 2 * one(coarserAcross + from);
        v = 2 * one(coarserDown + from);
      }
      const matrix = gradientsOf(place, 4 * width, gradients);
      const xx = DAMPING + f64x2.extract_lane(matrix, 0);
      const yy = DAMPING + f64x2.extract_lane(matrix, 1);
      const xy = load<f64>(gradients + 1024);
      const determinant = xx * yy - xy * xy;
      for (let step: i32 = 0; step < ITERATIONS; step++) {
        const x = f64(left) + u;
        const y = f64(top) + v;
        const isInside = x >= 0 && y >= 0 && x + f64(BLOCK - 1) <= f64(width) - BETWEEN && y + f64(BLOCK - 1) <= f64(height) - BETWEEN;
        const pull = isInside ? pullInside(place, after, width, gradients, x, y) : pullAtEdge(place, after, width, height, gradients, x, y);
        const bx = f64x2.extract_lane(pull, 0);
        const by = f64x2.extract_lane(pull, 1);
        const du = (yy * bx - xy * by) / determinant;
        const dv = (xx * by - xy * bx) / determinant;
        u += max(-2.0, min(2.0, du));
        v += max(-2.0, min(2.0, dv));
        if (du * du + dv * dv < 1e-4) break;
      }
      // Nothing is seen to come from beyond the picture.
      store<f32>(across, f32(max(f64(-width) / 2, min(f64(width) / 2, u))));
      store<f32>(down, f32(max(f64(-height) / 2, min(f64(height) / 2, v))));
      across += 4;
      down += 4;
    }
}

/** A block's gradients, across and down for each pixel; sums of their squares, and of their products behind them. All are exact. */
function gradientsOf(place: usize, stride: usize, out: usize): v128 {
  let squares = f64x2.splat(0);
  let products = f64x2.splat(0);
  const half = f64x2.splat(0.5);
  let to = out;
  for (let y: usize = 0; y < 8; y++)
    for (let x: usize = 0; x < 8; x += 2) {
      const at = place + y * stride + 4 * x;
      const gx = f64x2.mul(f64x2.sub(two(at + 4), two(at - 4)), half);
      const gy = f64x2.mul(f64x2.sub(two(at + stride), two(at - stride)), half);
      const first = i8x16.shuffle(gx, gy, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
      const second = i8x16.shuffle(gx, gy, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
      v128.store(to, first);
      v128.store(to + 16, second);
      to += 32;
      squares = f64x2.add(squares, f64x2.add(f64x2.mul(first, first), f64x2.mul(second, second)));
      products = f64x2.add(products, f64x2.mul(gx, gy));
    }
  store<f64>(to, f64x2.extract_lane(products, 0) + f64x2.extract_lane(products, 1));
  return squares;
}

/**
 * Where the picture after pulls a block of the one before, which lies within it from (x, y) on: differences by gradients, across and down.
 * Each of its pixels lies between four in the same way.
 */
function pullInside(place: usize, after: usize, width: i32, gradients: usize, x: f64, y: f64): v128 {
  const x0 = i32(x);
  const y0 = i32(y);
  const fx = f64x2.splat(x - f64(x0));
  const fy = f64x2.splat(y - f64(y0));
  const stride: usize = 4 * width;
  let at = after + 4 * (y0 * width + x0);
  let pull = f64x2.splat(0);
  for (let row: i32 = 0; row < BLOCK; row++) {
    for (let column: usize = 0; column < 32; column += 8) {
      const above = two(at + column);
      const below = two(at + column + stride);
      const upperRow = f64x2.add(above, f64x2.mul(fx, f64x2.sub(two(at + column + 4), above)));
      const lowerRow = f64x2.add(below, f64x2.mul(fx, f64x2.sub(two(at + column + stride + 4), below)));
      const there = f64x2.add(upperRow, f64x2.mul(fy, f64x2.sub(lowerRow, upperRow)));
      const error = f64x2.sub(two(place + column), there);
      // One pixel after another: the order of a sum decides its last bits.
      pull = f64x2.add(pull, f64x2.mul(i8x16.shuffle(error, error, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7), v128.load(gradients)));
      pull = f64x2.add(pull, f64x2.mul(upper(error), v128.load(gradients, 16)));
      gradients += 32;
    }
    place += stride;
    at += stride;
  }
  return pull;
}

/** The same of a block that lies beyond it in part: the picture goes on as its edge is. */
function pullAtEdge(place: usize, after: usize, width: i32, height: i32, gradients: usize, x: f64, y: f64): v128 {
  const stride: usize = 4 * width;
  let pull = f64x2.splat(0);
  for (let row: i32 = 0; row < BLOCK; row++) {
    const py = max(0.0, min(f64(height) - BETWEEN, y + f64(row)));
    const y0 = i32(py);
    const fy = py - f64(y0);
    for (let column: i32 = 0; column < BLOCK; column++) {
      const px = max(0.0, min(f64(width) - BETWEEN, x + f64(column)));
      const x0 = i32(px);
      const fx = px - f64(x0);
      const at = after + 4 * (y0 * width + x0);
      const upperRow = one(at) + fx * (one(at + 4) - one(at));
      const lowerRow = one(at + stride) + fx * (one(at + stride + 4) - one(at + stride));
      const error = one(place + 4 * column) - (upperRow + fy * (lowerRow - upperRow));
      pull = f64x2.add(pull, f64x2.mul(f64x2.splat(error), v128.load(gradients)));
      gradients += 16;
    }
    place += stride;
  }
  return pull;
}
