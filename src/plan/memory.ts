/**
 * The memory plan: where every activation lies, by lifetime, over a few arenas.
 *
 * WebGPU refuses a buffer that one dispatch binds both read-only and read-write, even at disjoint ranges. So arenas are
 * colours: a tensor may not share an arena with one that the same dispatch uses in the other way. Tensors are placed
 * largest first (greedy by size, Pisarchyk & Lee 2020, arXiv:2001.03288), each where it makes its arena grow least; then again
 * in orders drawn from fixed seeds, and the smallest plan is taken.
 */
import { CogwheelError } from "../base/errors.ts";

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
  const sized = tensors.map((t) => ({ ...t, size: Math.ceil(t.bytes / alignment) * alignment, role: roleOf(t.name) }));
  for (const { name, size } of sized) {
    if (size > maxArenaBytes) {
      throw new CogwheelError(
        "graph",
        `a tensor must fit a buffer of ${maxArenaBytes} bytes on this adapter, ` +
          `got ${size} for ${name}; choose a smaller size, fewer frames or dtype f16`,
      );
    }
  }
  const enemies = new Map<number, number[]>();
  for (const [a, b] of conflicts) {
    (enemies.get(a) ?? enemies.set(a, []).get(a)!).push(b);
    (enemies.get(b) ?? enemies.set(b, []).get(b)!).push(a);
  }
  const lowerBound = largestLiveSet(tensors);
  const bytesOf = (plan: Layout): number => plan.arenas.reduce((a, b) => a + b, 0);
  let best = place(sized, enemies, maxArenaBytes, 0);
  // Placing is quick for a model of a few hundred tensors, and a larger one repeats its blocks.
  const tries = Math.max(8, Math.min(TRIES, Math.floor(TRIES * (400 / sized.length) ** 2)));
  for (let seed = 1; seed <= tries && bytesOf(best) > 1.001 * lowerBound; seed++) {
    const other = place(sized, enemies, maxArenaBytes, seed);
    if (bytesOf(other) < bytesOf(best)) best = other;
  }
  return { ...best, lowerBound };
}

/** Plans that are tried before the smallest is taken. */
const TRIES = 64;

type Layout = Pick<MemoryPlan, "placements" | "arenas">;
interface Sized extends Lifetime {
  readonly size: number;
  /** What the tensor is in every block of the model that has one. */
  readonly role: string;
}
const roleOf = (name: string): string => name.replace(/\d+/g, "#");

/**
 * Every tensor in turn, largest first, where its arena grows least. With a `seed` above 0 the order and the preference among arenas
 * are moved by chance, alike for all tensors of a role, so that what helps in one block is done in all of them.
 */
function place(tensors: readonly Sized[], enemies: ReadonlyMap<number, readonly number[]>, maxArenaBytes: number, seed: number): Layout {
  const arenas: Arena[] = [];
  const placements = new Map<number, Placement>();
  const drawn = new Map<string, number>();
  const chance = (key: string): number => drawn.get(key) ?? drawn.set(key, hash(key, seed)).get(key)!;
  const rank = (t: Sized): number => (seed ? t.size * (1 + chance(t.role)) : t.size);
  for (const tensor of [...tensors].sort((a, b) => rank(b) - rank(a) || a.first - b.first || a.id - b.id)) {
    const { size } = tensor;
    const hostile = new Set((enemies.get(tensor.id) ?? []).map((id) => placements.get(id)?.arena));
    let best: { arena: number; offset: number; growth: number; price: number } | undefined;
    for (let index = 0; index <= arenas.length; index++) {
      const arena = arenas[index];
      // One more arena is always to be had, but only chance prefers it to one that grows as much.
      if (!arena && best && (seed === 0 || arenas.length >= MOST_ARENAS)) break;
      if (hostile.has(index)) continue;
      const offset = arena ? arena.lowestGap(tensor) : 0;
      if (offset + size > maxArenaBytes) continue;
      const growth = arena ? Math.max(0, offset + size - arena.bytes) : size;
      const price = growth + (seed ? 0.5 * size * chance(`${tensor.role} ${index}`) : 0);
      if (!best || price < best.price) best = { arena: index, offset, growth, price };
    }
    const { arena: index, offset } = best!;
    (arenas[index] ??= new Arena()).place(tensor, offset);
    placements.set(tensor.id, { arena: index, offset });
  }
  // Largest first: programs that share arenas share them by number.
  const order = arenas.map((_, i) => i).sort((a, b) => arenas[b]!.bytes - arenas[a]!.bytes || a - b);
  for (const [id, { arena, offset }] of placements) placements.set(id, { arena: order.indexOf(arena), offset });
  return { placements, arenas: order.map((i) => arenas[i]!.bytes) };
}

/** Arenas are buffers; a few are all that colouring needs. */
const MOST_ARENAS = 5;

/** 0 up to 1, by FNV-1a. */
function hash(text: string, seed: number): number {
  let h = (2166136261 ^ Math.imul(seed, 0x9e3779b1)) >>> 0;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619) >>> 0;
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) >>> 0;
  return ((h ^ (h >>> 13)) >>> 0) / 4294967296;
}

/**
 * What lies in an arena, in the order of offsets: lists of numbers side by side, for they are gone through once a tensor, and large models
 * have many thousands.
 */
class Arena {
  bytes = 0;
  readonly #offset: number[] = [];
  readonly #end: number[] = [];
  readonly #first: number[] = [];
  readonly #last: number[] = [];

  place({ first, last, size }: Sized, offset: number): void {
    this.bytes = Math.max(this.bytes, offset + size);
    let [at, high] = [0, this.#offset.length];
    while (at < high) {
      const middle = (at + high) >> 1;
      if (this.#offset[middle]! <= offset) at = middle + 1;
      else high = middle;
    }
    this.#offset.splice(at, 0, offset);
    this.#end.splice(at, 0, offset + size);
    this.#first.splice(at, 0, first);
    this.#last.splice(at, 0, last);
  }

  /** Lowest offset at which `size` bytes are free for the tensor's whole life. */
  lowestGap({ first, last, size }: Sized): number {
    let offset = 0;
    for (let i = 0; i < this.#offset.length && this.#offset[i]! - offset < size; i++)
      if (this.#first[i]! <= last && first <= this.#last[i]! && this.#end[i]! > offset) offset = this.#end[i]!;
    return offset;
  }
}

export function largestLiveSet(tensors: readonly Lifetime[]): number {
  const events = tensors
    .flatMap((t) => [
      { at: t.first, bytes: t.bytes },
      { at: t.last + 1, bytes: -t.bytes },
    ])
    .sort((a, b) => a.at - b.at || a.bytes - b.bytes);
  let live = 0;
  let most = 0;
  for (const e of events) most = Math.max(most, (live += e.bytes));
  return most;
}
