/**
 * The slot plan: weights that are not kept on the device share a little memory there, and are brought into it in every run, each before
 * the first step that reads it.
 *
 * That memory is a ring. Weights lie in it in the order of their use, and one is overwritten when its turn comes round again. So a weight
 * may be brought as soon as the last reader of what lies in its place has been submitted, which is as early as the memory allows: with
 * room for two layers a layer's weights come while the layer before computes. A weight that is read again after it was overwritten is
 * brought again.
 *
 * The plan says where, not when: `Streamer` (src/run/streamer.ts) brings as early as it can.
 */
import { CogwheelError } from "../base/errors.ts";
import type { WeightRequest } from "./weight-request.ts";

/** Bytes `offset` (included) to `end` of a slot buffer. */
export interface Place {
  readonly buffer: number;
  readonly offset: number;
  readonly end: number;
}

/** A weight that is brought in a run, and where it lies. */
export interface Upload extends Place {
  readonly weight: WeightRequest;
  /** The first step that reads it there, and the last; after that one it may be overwritten. */
  readonly before: number;
  readonly last: number;
}

export interface SlotPlan {
  /** Bytes of the slot buffers. One, unless it would be larger than the adapter's buffers may be. */
  readonly buffers: readonly number[];
  /** In the order of their use. */
  readonly uploads: readonly Upload[];
  /** Where a step reads a streamed weight. */
  at(step: number, key: string): Upload;
}

/** The most of `slots`: more layers than any model has. */
const MOST_SLOTS = 1e4;

/** `blocks.3` of `blocks.3.ff.0.weight`: what is streamed as one layer. */
export function layerOf({ names }: Pick<WeightRequest, "names">): string {
  const [name] = names as [string];
  return /^.*?\.\d+(?=\.)/.exec(name)?.[0] ?? name.split(".")[0]!;
}

/** Bytes of the streamed weights of each layer, in the order of their first use. */
export function layerBytes(weights: Iterable<WeightRequest>, alignment: number): Map<string, number> {
  const layers = new Map<string, number>();
  for (const weight of weights) layers.set(layerOf(weight), (layers.get(layerOf(weight)) ?? 0) + aligned(weight.bytes, alignment));
  return layers;
}

const aligned = (bytes: number, alignment: number): number => Math.ceil(bytes / alignment) * alignment;

/** A weight in the ring. */
interface Held extends Upload {
  last: number;
}

/**
 * @param uses the streamed weights that each step reads, by key
 * @param slots room for so many of the largest layer; as much as one step needs is always there
 */
export function planSlots(
  weights: ReadonlyMap<string, WeightRequest>,
  uses: readonly ReadonlySet<string>[],
  slots: number,
  alignment: number,
  maxBufferBytes: number,
): SlotPlan {
  if (!(slots > 0 && slots <= MOST_SLOTS))
    throw new CogwheelError(
      "graph",
      `slots are layers' worth of memory, above 0 and at most ${MOST_SLOTS}, got ${slots}; 2 is one that computes and one that comes`,
    );
  if (weights.size === 0)
    return {
      buffers: [],
      uploads: [],
      at: (_step, key) => {
        throw new CogwheelError("graph", `a weight must be streamed to have a slot, got ${key}; stream it`);
      },
    };
  const size = (key: string): number => aligned(weights.get(key)!.bytes, alignment);
  for (const [key, { bytes }] of weights)
    if (size(key) > maxBufferBytes)
      throw new CogwheelError(
        "graph",
        `a streamed weight must fit a buffer of ${maxBufferBytes} bytes, got ${bytes} for ${key}; keep it resident`,
      );
  const all = [...weights.keys()].reduce((n, key) => n + size(key), 0);
  const layer = Math.max(...layerBytes(weights.values(), alignment).values());
  const step = Math.max(...uses.map((keys) => [...keys].reduce((n, key) => n + size(key), 0)));
  const largest = Math.max(...[...weights.keys()].map(size));
  for (let bytes = Math.max(step, Math.min(all, aligned(slots * layer, alignment))); ; bytes += largest) {
    const count = Math.ceil(bytes / maxBufferBytes);
    const each = Math.min(maxBufferBytes, Math.max(largest, aligned(bytes / count, alignment)));
    const found = ring(weights, uses, size, Array<number>(count).fill(each));
    if (found) return found;
  }
}

/** null where what a step needs cannot lie side by side. */
function ring(
  weights: ReadonlyMap<string, WeightRequest>,
  uses: readonly ReadonlySet<string>[],
  size: (key: string) => number,
  buffers: readonly number[],
): SlotPlan | null {
  const uploads: Held[] = [];
  const held = new Map<string, Held>();
  const places: ReadonlyMap<string, Held>[] = [];
  let [buffer, offset] = [0, 0];
  for (const [step, keys] of uses.entries()) {
    for (const key of keys) {
      const there = held.get(key);
      if (there) {
        there.last = step;
        continue;
      }
      const bytes = size(key);
      for (let turns = 0; ; ) {
        if (offset + bytes > buffers[buffer]!) {
          [buffer, offset] = [(buffer + 1) % buffers.length, 0];
          if (++turns > buffers.length + 1) return null;
          continue;
        }
        // Not over what this step reads too.
        const inTheWay = [...held.values()].find((h) => keys.has(h.weight.key) && overlap(h, { buffer, offset, end: offset + bytes }));
        if (!inTheWay) break;
        offset = inTheWay.end;
      }
      const made: Held = { weight: weights.get(key)!, buffer, offset, end: offset + bytes, before: step, last: step };
      for (const [other, h] of held) if (overlap(h, made)) held.delete(other);
      held.set(key, made);
      uploads.push(made);
      offset = made.end;
    }
    places.push(keys.size ? new Map([...keys].map((key) => [key, held.get(key)!])) : NOTHING);
  }
  return {
    buffers,
    uploads,
    at(step, key) {
      const found = places[step]?.get(key);
      if (!found) throw new CogwheelError("graph", `a step reads a streamed weight in its slot, got ${key} in step ${step}; compile again`);
      return found;
    },
  };
}

const NOTHING: ReadonlyMap<string, Held> = new Map();

/** Do two places have a byte in common? */
export const overlap = (a: Place, b: Place): boolean => a.buffer === b.buffer && a.offset < b.end && b.offset < a.end;
