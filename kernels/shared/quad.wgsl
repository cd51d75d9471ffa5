// shared/quad.wgsl — outer products among 4 lanes: each swaps its columns with the others
//
// Expects   nothing, but subgroups of 4 lanes or a multiple

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
