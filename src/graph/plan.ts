/**
 * The memory plan: where every activation lies, by lifetime, over a few arenas.
 *
 * WebGPU refuses a buffer that one dispatch binds both read-only and read-write, even at disjoint ranges. So arenas are
 * colours: a tensor may not share an arena with one that the same dispatch uses in the other way. Tensors are placed
 * largest first (greedy by size, Pisarchyk & Lee 2020, arXiv:2001.03288), each where it makes its arena grow least.
 */
import { CogwheelError } from "../errors.ts";

export interface Lifetime {
  readonly id: number;
  readonly name: string;
  readonly bytes: number;
  /** Dispatches of the first write and of the last use. */
  readonly first: number;
  readonly last: number;
}

export interface Placement {
  readonly arena: number;
  readonly offset: number;
}

export interface MemoryPlan {
  readonly placements: ReadonlyMap<number, Placement>;
  /** Bytes of each arena. */
  readonly arenas: readonly number[];
  /** The largest set of tensors alive at once: no plan can be smaller. */
  readonly lowerBound: number;
}

export function planMemory(
  tensors: readonly Lifetime[],
  /** Pairs that must not share an arena. */
  conflicts: readonly (readonly [number, number])[],
  alignment: number,
  maxArenaBytes: number,
): MemoryPlan {
  const align = (n: number) => Math.ceil(n / alignment) * alignment;
  const enemies = new Map<number, Set<number>>();
  for (const [a, b] of conflicts) {
    (enemies.get(a) ?? enemies.set(a, new Set()).get(a)!).add(b);
    (enemies.get(b) ?? enemies.set(b, new Set()).get(b)!).add(a);
  }
  interface Placed extends Lifetime { offset: number; size: number }
  const arenas: { bytes: number; placed: Placed[]; ids: Set<number> }[] = [];
  const placements = new Map<number, Placement>();

  for (const tensor of [...tensors].sort((a, b) => b.bytes - a.bytes || a.first - b.first || a.id - b.id)) {
    const size = align(tensor.bytes);
    if (size > maxArenaBytes) {
      throw new CogwheelError("graph", `a tensor must fit a buffer of ${maxArenaBytes} bytes on this adapter, got ${size} for ${tensor.name}; choose a smaller size, fewer frames or dtype f16`);
    }
    const hostile = enemies.get(tensor.id);
    let best: { arena: number; offset: number; growth: number } | undefined;
    for (const [index, arena] of arenas.entries()) {
      if (hostile && [...hostile].some((id) => arena.ids.has(id))) continue;
      const offset = lowestGap(arena.placed, tensor, size);
      if (offset + size > maxArenaBytes) continue;
      const growth = Math.max(0, offset + size - arena.bytes);
      if (!best || growth < best.growth) best = { arena: index, offset, growth };
    }
    if (!best) {
      arenas.push({ bytes: 0, placed: [], ids: new Set() });
      best = { arena: arenas.length - 1, offset: 0, growth: size };
    }
    const arena = arenas[best.arena]!;
    arena.bytes = Math.max(arena.bytes, best.offset + size);
    arena.placed.push({ ...tensor, offset: best.offset, size });
    arena.ids.add(tensor.id);
    placements.set(tensor.id, { arena: best.arena, offset: best.offset });
  }
  return { placements, arenas: arenas.map((a) => a.bytes), lowerBound: largestLiveSet(tensors) };
}

/** Lowest offset at which `size` bytes are free for the tensor's whole life. */
function lowestGap(placed: readonly (Lifetime & { offset: number; size: number })[], tensor: Lifetime, size: number): number {
  const neighbours = placed.filter((p) => p.first <= tensor.last && tensor.first <= p.last).sort((a, b) => a.offset - b.offset);
  let offset = 0;
  for (const p of neighbours) {
    if (p.offset - offset >= size) break;
    offset = Math.max(offset, p.offset + p.size);
  }
  return offset;
}

export function largestLiveSet(tensors: readonly Lifetime[]): number {
  const events = tensors.flatMap((t) => [{ at: t.first, bytes: t.bytes }, { at: t.last + 1, bytes: -t.bytes }]).sort((a, b) => a.at - b.at || a.bytes - b.bytes);
  let live = 0;
  let most = 0;
  for (const e of events) most = Math.max(most, (live += e.bytes));
  return most;
}
