// embedding_readers.wgsl — the first and the last row that read each row of a table
//
// Shapes    ids [R] · readers [V, 2]: first and last r with ids[r] = v; FORGET: before the ids are looked at, none
// Work      one thread a row, by atomic minimum and maximum: of whole numbers, so their order does not show
// Dispatch  (ceil(count / 64), folded, 1): count is V with FORGET, else R
// Needs     an id past the table counts as its last row
//! specialise
@group(0) @binding(0) var<uniform> params: Params;
const FORGET: bool = false;
//! end
struct Params { count: u32, vocab: u32 }
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> readers: array<atomic<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let r = (wid.y * groups.x + wid.x) * 64u + lane;
  if (r >= params.count) { return; }
  if (FORGET) {
    atomicStore(&readers[2u * r], 0x7fffffffu);
    atomicStore(&readers[2u * r + 1u], 0u);
    return;
  }
  let row = min(ids[r], params.vocab - 1u);
  atomicMin(&readers[2u * row], r);
  atomicMax(&readers[2u * row + 1u], r);
}
