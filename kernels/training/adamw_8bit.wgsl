// adamw_8bit.wgsl — one step of AdamW with both means in 8 bits a value
//
//   a block of 256 values has a scale for each mean, and for each value two indices into maps of 256 numbers of −1 to 1 and 0 to 1;
//   the step is that of adamw.wgsl on what they stand for, and the next means are the nearest numbers of the maps
//
// Shapes    p, g, p_next [R], padded in memory to a multiple of 4 · map [512]: of m, then of v, each rising
//           state, state_next [blocks, 130] u32: 64 words of m's indices, 64 of v's, four a word, then the bits of both scales
//           control [16] as for adamw.wgsl
// Work      one workgroup a block, one thread a vec4: the step in f32, then two maxima of the block, then a binary search in the maps
// Dispatch  (blocks, folded, 1)
// Cost      reads p and g, writes p, 2 bytes a value besides; bandwidth bound
// Numerics  f32; of two numbers of a map that are equally near the smaller; IN_PLACE: p and the state lie where their next ones do
// After     Dettmers et al. 2021, arXiv:2110.02861
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const IN_PLACE = 0u;
//! end
const WG = 64u;
const WORDS = 130u;
struct Params { count: u32 }
@group(0) @binding(1) var<storage, read> p: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> control: array<f32, 16>;
@group(0) @binding(5) var<storage, read> map: array<f32, 512>;
@group(0) @binding(6) var<storage, read_write> p_next: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> state_next: array<u32>;

var<workgroup> sh_most: array<vec2<f32>, WG>;

fn stored(at: u32) -> u32 {
  if (IN_PLACE == 1u) { return state_next[at]; }
  return state[at];
}
fn values(word: u32, base: u32) -> vec4<f32> {
  let index = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
  return vec4<f32>(map[base + index.x], map[base + index.y], map[base + index.z], map[base + index.w]);
}
/** The index of the number that is nearest to `value`. */
fn nearest(value: f32, base: u32) -> u32 {
  var low = 0u;
  var high = 255u;
  while (high - low > 1u) {
    let middle = (low + high) / 2u;
    if (map[base + middle] <= value) { low = middle; } else { high = middle; }
  }
  return select(low, high, map[base + high] - value < value - map[base + low]);
}
fn indices(value: vec4<f32>, base: u32) -> u32 {
  return nearest(value.x, base) | (nearest(value.y, base) << 8u) | (nearest(value.z, base) << 16u) | (nearest(value.w, base) << 24u);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let block = wid.y * groups.x + wid.x;
  let i = block * WG + lane;
  let first_word = block * WORDS;
  if (4u * block * WG >= params.count) { return; }
  let within = 4u * i < params.count;
  let taken = control[2] != 0.0;
  let scales = vec2<f32>(bitcast<f32>(stored(first_word + 128u)), bitcast<f32>(stored(first_word + 129u)));
  var weight = vec4<f32>();
  var first = vec4<f32>();
  var second = vec4<f32>();
  if (within) {
    if (IN_PLACE == 1u) { weight = p_next[i]; } else { weight = p[i]; }
  }
  if (within && taken) {
    first = values(stored(first_word + lane), 0u) * scales.x;
    second = values(stored(first_word + 64u + lane), 256u) * scales.y;
    let gradient = g[i] * control[1];
    weight *= control[4];
    first += control[5] * (gradient - first);
    second = control[6] * second + control[7] * gradient * gradient;
    weight += control[10] * (first / (sqrt(second) * control[8] + control[9]));
    // What lies behind the last value has no say in the block's scales.
    let there = 4u * i + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.count);
    first = select(vec4<f32>(), first, there);
    second = select(vec4<f32>(), second, there);
  }
  let size = abs(first);
  sh_most[lane] = vec2<f32>(max(max(size.x, size.y), max(size.z, size.w)), max(max(second.x, second.y), max(second.z, second.w)));
  // The indices that were read are not written before all threads have read theirs.
  storageBarrier();
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { sh_most[lane] = max(sh_most[lane], sh_most[lane + half]); }
    workgroupBarrier();
  }
  let most = sh_most[0];
  if (within) { p_next[i] = weight; }
  if (taken) {
    // A block of zeros has the scale 0, and any index means 0 then.
    state_next[first_word + lane] = indices(first / max(most.x, 1e-38), 0u);
    state_next[first_word + 64u + lane] = indices(second / max(most.y, 1e-38), 256u);
    if (lane == 0u) {
      state_next[first_word + 128u] = bitcast<u32>(most.x);
      state_next[first_word + 129u] = bitcast<u32>(most.y);
    }
  } else if (IN_PLACE == 0u) {
    state_next[first_word + lane] = state[first_word + lane];
    state_next[first_word + 64u + lane] = state[first_word + 64u + lane];
    if (lane < 2u) { state_next[first_word + 128u + lane] = state[first_word + 128u + lane]; }
  }
}
