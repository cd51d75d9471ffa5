// shared/conv3d_run.wgsl — of a run of neighbouring columns of y, whose lane loads x itself: where its input lies under tap 0
//
// Expects   `has`, `field` (shared/conv3d.wgsl) · `row_out`: row of all rows of y · `w0`: first column of the run
// Gives     step: between columns · h0, t0, column0: row, frame, column of x · up: 1 where rows and columns are doubled
//           row, plane: vectors of a row and of a frame of x · x_batch: where its batch entry begins

let step = field(5u);
let h0 = i32((row_out % params.h_out) * field(4u)) + params.h_origin;
let t0 = i32((row_out / params.h_out % params.t_out) * field(3u)) + params.t_origin;
let column0 = i32(w0 * step) - (i32(params.kernel) >> 28u);
let up = select(0u, 1u, has(DOUBLED));
let row = (params.w_in >> up) * params.cin4;
let plane = (params.h_in >> up) * row;
let x_batch = params.x_base + row_out / params.h_out / params.t_out * params.t_in * plane;
