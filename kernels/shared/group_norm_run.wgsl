// shared/group_norm_run.wgsl — the run of positions of one row, and the channels, that a lane of a group norm has
//
// Expects   `params` with runs, first, c4, t, h and w; `WG`, `RUN`, `wid`, `groups`, `lane`
// Work      RUN positions of a row × 4 channels a lane

let id = (wid.y * groups.x + wid.x) * WG + lane;
let step = params.c4;
if (id >= params.runs * step) { return; }
// Remainders by a product: a CPU adapter divides lane by lane.
let run_here = id / step;
let column = id - run_here * step;
let run = params.first + run_here;
let runs_of_row = (params.w + RUN - 1u) / RUN;
let row = run / runs_of_row;
let w0 = (run - row * runs_of_row) * RUN;
let frame = row / params.h;
let batch = frame / params.t;
