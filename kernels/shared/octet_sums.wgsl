// shared/octet_sums.wgsl — a lane's sums of up to 128 columns
//
// Expects   `Eight` (shared/octet.wgsl)

var o0: Eight;
var o1: Eight;
var o2: Eight;
var o3: Eight;
var o4: Eight;
var o5: Eight;
var o6: Eight;
var o7: Eight;
var o8: Eight;
var o9: Eight;
var o10: Eight;
var o11: Eight;
var o12: Eight;
var o13: Eight;
var o14: Eight;
var o15: Eight;
