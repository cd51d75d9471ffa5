/**
 * Which weights stay on the device and which come and go, so that a plan keeps within the memory that there is.
 *
 * A model runs its layers in turn, again and again. Of such a cycle nothing is gained by keeping what was used last (it is what is needed
 * again latest), so a set of layers stays for good, and the others come when they are needed. Those are spread evenly among the ones that
 * stay: so is then what has to be read in a run, and while no two of them are neighbours, one place serves them all.
 */
import type { Node } from "../graph/op.ts";
import type { CompileOptions, Plan, WeightRequest } from "./compile.ts";
import { weightKey } from "./compile.ts";
import { viewOf } from "./dispatch.ts";

/** Places in the room that weights share: of all side by side, each aligned, and of the largest. */
interface Room {
  readonly room: number;
  readonly widest: number;
}

/** Weights that one layer reads alone, and that come and go together. */
export interface WeightLayer extends Room {
  /** The scope of its nodes: `blocks.3`. */
  readonly name: string;
  readonly weights: readonly WeightRequest[];
  /** As kernels read them. */
  readonly bytes: number;
  /** While they stay, some of them perhaps as they are stored. */
  readonly held: number;
  /** Of those that are unpacked from there in every run. */
  readonly unpacked: Room;
}

/** How a plan's weights are there: what `compile` is told, and what follows from it. */
export interface Residence {
  /** Layers whose weights could come and go, and how many of them stay. */
  readonly layers: number;
  readonly resident: number;
  /** Room for so many of the largest layer, which those that come share; 0 where all stay. */
  readonly slots: number;
  /** Bytes of that room, and of what is brought into it in every run. */
  readonly slotBytes: number;
  readonly streamedBytes: number;
  /** What those that come and go would take if they stayed. */
  readonly freedBytes: number;
  readonly options: CompileOptions;
}

/** A scope down to its first number. */
const layerOf = ({ scope }: Node): string | undefined => /^.*?\.\d+(?=\.|$)/.exec(scope)?.[0];

/**
 * The layers of a plan, in the order in which they run. Weights that several layers read, or none, are no layer's, and vectors stay: they
 * are a thousandth of a layer, and each would be a read of its own.
 */
export function layersOf({ steps, weights, asStored, caps }: Pick<Plan, "steps" | "weights" | "asStored" | "caps">): WeightLayer[] {
  const readers = new Map<string, Set<string | undefined>>();
  for (const { node, dispatch } of steps)
    for (const bound of Object.values(dispatch.bindings)) {
      const { tensor, packing = "natural" } = viewOf(bound);
      if (tensor.root.role !== "weight") continue;
      const key = weightKey(tensor, packing);
      (readers.get(key) ?? readers.set(key, new Set()).get(key)!).add(layerOf(node));
    }
  const layers = new Map<string, WeightRequest[]>();
  for (const [key, names] of readers) {
    const [name] = names;
    const request = weights.get(key) ?? asStored.get(key)!.weight;
    if (names.size > 1 || name === undefined || request.shape.length < 2) continue;
    (layers.get(name) ?? layers.set(name, []).get(name)!).push(request);
  }
  return [...layers].map(([name, own]) => ({
    name,
    weights: own,
    bytes: own.reduce((n, { bytes }) => n + bytes, 0),
    held: own.reduce((n, { key, bytes }) => n + (asStored.get(key)?.bytes ?? bytes), 0),
    ...roomOf(own, caps.offsetAlignment),
    unpacked: roomOf(
      own.filter(({ key }) => asStored.has(key)),
      caps.offsetAlignment,
    ),
  }));
}

function roomOf(weights: readonly WeightRequest[], alignment: number): Room {
  const places = weights.map(({ bytes }) => Math.ceil(bytes / alignment) * alignment);
  return { room: places.reduce((a, b) => a + b, 0), widest: Math.max(0, ...places) };
}

/** Room for the layers that come: two where they are neighbours, of which one computes while the next comes. */
const COMFORTABLE = 2;
/** Where there is not even room for one layer, its weights take turns, down to what one step reads. */
const LEAST = 0.01;

/** Of places in a buffer, on every adapter. */
const ALIGNMENT = 256;

/** Of `layers`, `count` come and go through room for `slots` of the largest. */
function residence(layers: readonly WeightLayer[], count: number, slots: number): Residence {
  const turn = (i: number): number => Math.floor((i * count) / layers.length);
  const coming = layers.filter((_, i) => turn(i + 1) > turn(i));
  // By name, so that it holds however weights are stored.
  const names = new Set(coming.flatMap(({ weights }) => weights.flatMap((request) => request.names)));
  const sum = (of: (layer: WeightLayer) => number) => coming.reduce((n, layer) => n + of(layer), 0);
  const sharing = layers.map((layer): Room => (coming.includes(layer) ? layer : layer.unpacked)).filter(({ room }) => room > 0);
  const most = (of: (room: Room) => number) => Math.max(0, ...sharing.map(of));
  const share = slots * most(({ room }) => room);
  return {
    layers: layers.length,
    resident: layers.length - count,
    slots: sharing.length ? slots : 0,
    // As `planSlots` counts it.
    slotBytes: Math.min(
      sharing.reduce((n, { room }) => n + room, 0),
      Math.max(
        most(({ widest }) => widest),
        Math.ceil(share / ALIGNMENT) * ALIGNMENT,
      ),
    ),
    streamedBytes: sum(({ bytes }) => bytes),
    freedBytes: sum(({ held }) => held),
    options: {
      ...(count ? { stream: ({ names: own }: WeightRequest) => own.every((name) => names.has(name)) } : {}),
      ...(sharing.length ? { slots } : {}),
    },
  };
}

/** The residence with most resident layers that fits; undefined where none does. */
export function residenceWithin(layers: readonly WeightLayer[], fits: (residence: Residence) => boolean): Residence | undefined {
  for (let count = 0; count <= layers.length; count++) {
    const found = residence(layers, count, 2 * count > layers.length ? COMFORTABLE : 1);
    if (fits(found)) return found;
  }
  return [1, LEAST].map((slots) => residence(layers, layers.length, slots)).find(fits);
}

/** What takes least. */
export const leastResidence = (layers: readonly WeightLayer[]): Residence => residence(layers, layers.length, LEAST);

/** Bytes of a plan that takes `bytes` with all weights there, of which `slots` are room for those that are unpacked. */
export const bytesWith = (bytes: number, { freedBytes, slotBytes }: Residence, slots = 0): number => bytes - slots - freedBytes + slotBytes;
