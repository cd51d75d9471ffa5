/** adamw_8bit: a first step, later ones, a last block that is not full, a step that is not taken, windows. */
import { adamw8bit as kernel } from "#kernels";
import { adamw8bit, adamw8bitState, dynamicMap } from "../../../ops/adamw_8bit.ts";
import { UPDATE_VALUES } from "../../../ops/gradient_norm.ts";
import type { OpCase, OpCases, Size } from "../case.ts";
import { drawn } from "../draw.ts";
import { oneKernel } from "../listed-kernels.ts";
import { adamwReference, controlOf, type Hyper, usual } from "./adamw.ts";

const [BLOCK, WORDS, V_WORDS, SCALES] = [256, 130, 64, 128];
const MAPS = [dynamicMap(true), dynamicMap(false)] as const;

/** Both means of `count` values. */
export function unpackMeans(state: Uint32Array, count: number): Record<"m" | "v", Float64Array> {
  const bits = new Float32Array(state.buffer, state.byteOffset, state.length);
  const mean = (which: 0 | 1) =>
    Float64Array.from({ length: count }, (_, i) => {
      const [block, at] = [Math.floor(i / BLOCK) * WORDS, i % BLOCK];
      const word = state[block + which * V_WORDS + (at >> 2)]!;
      return MAPS[which][(word >>> (8 * (at & 3))) & 255]! * bits[block + SCALES + which]!;
    });
  return { m: mean(0), v: mean(1) };
}

/** A state whose blocks hold what is nearest to these means. */
export function packMeans(means: Record<"m" | "v", ArrayLike<number>>): Uint32Array<ArrayBuffer> {
  const count = means.m.length;
  const state = new Uint32Array(Math.ceil(count / BLOCK) * WORDS);
  const scales = new Float32Array(state.buffer);
  for (const [which, values] of [means.m, means.v].entries())
    for (let first = 0; first < count; first += BLOCK) {
      const block = (first / BLOCK) * WORDS;
      const value = (i: number): number => (first + i < count ? values[first + i]! : 0);
      let most = 0;
      for (let i = 0; i < BLOCK; i++) most = Math.max(most, Math.abs(value(i)));
      scales[block + SCALES + which] = most;
      const map = MAPS[which]!;
      for (let i = 0; i < BLOCK; i++) {
        const wanted = most ? value(i) / most : 0;
        let nearest = 0;
        for (let code = 1; code < 256; code++) if (Math.abs(map[code]! - wanted) < Math.abs(map[nearest]! - wanted)) nearest = code;
        const word = block + which * V_WORDS + (i >> 2);
        state[word] = (state[word]! | (nearest << (8 * (i & 3)))) >>> 0;
      }
    }
  return state;
}

export function adamw8bitReference(
  h: Hyper,
  factor: number,
  { p, g }: Record<"p" | "g", ArrayLike<number>>,
  state: Uint32Array,
): { p: Float64Array; state: Uint32Array } {
  const next = adamwReference(h, factor, { ...unpackMeans(state, p.length), p, g });
  return { p: next.p, state: packMeans(next) };
}

/** A state of some steps on values of several magnitudes. */
export function someState(count: number, seed = 5): Uint32Array<ArrayBuffer> {
  const sizes = drawn(count, seed + 1, 3);
  return packMeans({
    m: drawn(count, seed, 0.1).map((v, i) => v * 10 ** sizes[i]!),
    v: drawn(count, seed + 2, 0.1).map((v, i) => (v * 10 ** sizes[i]!) ** 2),
  });
}

interface Given {
  h?: Hyper;
  factor?: number;
  taken?: boolean;
  limits?: OpCase["limits"];
}

function one(size: Size, count: number, { h = { ...usual, step: 7 }, factor = 1, taken = true, limits }: Given = {}): OpCase {
  const state = h.step === 1 ? new Uint32Array(adamw8bitState(count).reduce((a, b) => a * b)) : someState(count);
  return {
    size,
    name: `[${count}] step ${h.step}${factor === 1 ? "" : `, by ${factor}`}${taken ? "" : ", not taken"}${limits ? ", in windows" : ""}`,
    half: [],
    ...(limits ? { limits } : {}),
    record: (draw) =>
      adamw8bit({
        p: draw.input("p", [count]),
        state: draw.graph.reshape(draw.rows("state", state, "input"), adamw8bitState(count)),
        g: draw.input("g", [count], taken ? {} : { data: new Float32Array(count).fill(Number.NaN) }),
        control: draw.input("control", [UPDATE_VALUES], { data: controlOf(h, factor, taken) }),
      }),
    reference: ({ p, g }) => (taken ? adamw8bitReference(h, factor, { p: p!, g: g! }, state) : { p: p!, state }),
  };
}

export const adamw8bitCases: OpCases = {
  op: "adamw_8bit",
  kernels: oneKernel(kernel),
  // An index that differs by one in a word's lowest byte is within it: test/ops/adamw_8bit.test.ts looks at every one.
  tolerance: { f32: 2e-6, f16: 2e-6 },
  cases: [
    one("tiny", 4, { h: usual }),
    one("odd", 256),
    one("odd", 1001, { factor: 0.3 }),
    one("odd", 703, { taken: false }),
    one("odd", 30_002, { limits: { maxBindingBytes: 70_000, maxGrid: 11 } }),
    one("model", 1920 * 480),
  ],
};
