// shared/pool_place.wgsl — which vector of y a lane computes, and in which row of all pictures together it lies
//
// Expects   `wid`, `groups`, `lane`, `params`, `WG`

let id = (wid.y * groups.x + wid.x) * WG + lane;
if (id >= params.count) { return; }
let at = params.first + id;
let position = at / params.c4;
let row = position / params.w_out;
