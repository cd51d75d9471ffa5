// shared/tile_place.wgsl — which tile of y a workgroup computes, and which part of it a thread does
//
// Expects   `wid`, `groups`, `lane`, `params`, `BM`, `BN`, `TX`

let group = wid.y * groups.x + wid.x;
if (group >= params.tiles) { return; }
let tiles_n = (params.n + BN - 1u) / BN;
let m0 = (group / tiles_n) * BM;
let n0 = (group % tiles_n) * BN;
let tx = lane % TX;
let ty = lane / TX;
