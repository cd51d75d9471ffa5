// clip_tiles.wgsl — the tiles of rows of clips that each attend to themselves, for attention's kernels
//
// Shapes    clips [S]: (first row, rows) · tiles [slots]: (first row, rows, first key, keys' end) of at most HEIGHT rows of one clip
//           within rows start … start + count, clip by clip; then tiles of no rows
//           RUNS: (first row, rows, s, s + 1) in their place, for s the clip, and behind all slots S runs (first row, end, 0, 0)
// Work      one thread a slot, or a run; each walks the clips, which are few
// Dispatch  (ceil((slots + runs) / 64), folded, 1)
// Cost      slots · S steps
// Needs     slots ≥ count / HEIGHT + S (src/ops/attention/clips.ts)
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const RUNS = 0u;
//! end
struct Params { clips: u32, slots: u32, height: u32, start: u32, count: u32 }
@group(0) @binding(1) var<storage, read> clips: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> tiles: array<vec4<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let slot = (wid.y * groups.x + wid.x) * 64u + lane;
  if (slot >= params.slots + RUNS * params.clips) { return; }
  if (slot >= params.slots) {
    let clip = clips[slot - params.slots];
    tiles[slot] = vec4<u32>(clip.x, clip.x + clip.y, 0u, 0u);
    return;
  }
  var before = 0u;
  for (var s = 0u; s < params.clips; s++) {
    let clip = clips[s];
    let first = max(clip.x, params.start);
    let end = max(first, min(clip.x + clip.y, params.start + params.count));
    let here = (end - first + params.height - 1u) / params.height;
    if (slot < before + here) {
      let at = first + (slot - before) * params.height;
      let rows = min(params.height, end - at);
      if (RUNS == 1u) { tiles[slot] = vec4<u32>(at, rows, s, s + 1u); } else { tiles[slot] = vec4<u32>(at, rows, clip.x, clip.x + clip.y); }
      return;
    }
    before += here;
  }
  tiles[slot] = vec4<u32>();
}
