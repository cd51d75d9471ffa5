/** How fast a model's weights come, from where they are stored to where its kernels read them. */
import type { LoadRate } from "../gpu/rates.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { LoadedWeight } from "../pipelines/cogvideox/probed.ts";
import { Misfit } from "../run/misfit.ts";
import { WeightStore } from "../run/weight-store.ts";
import { median } from "./measure.ts";
import type { ProbeOptions } from "./probe.ts";

/** Of each part so many bytes of weights at most, and so many of its smallest weights. */
const MANY_BYTES = 128 * 2 ** 20;
const SMALL_WEIGHTS = 32;
/** A part of no more bytes is loaded as a whole. */
const WHOLE_BYTES = 32 * 2 ** 20;
/** Else bytes of a first load; each later one is of twice as many, and none is begun after so many seconds. */
const FIRST_BYTES = 4 * 2 ** 20;
const READ_SECONDS = 1;
/** Loads of the same, of which the median counts; fewer where they take long. */
const LOADS = 5;

/** Rates by the part of the model whose weights they are; of parts without any, none. */
export async function probeLoading(model: CogVideoX, { signal, onProgress }: ProbeOptions): Promise<Record<string, LoadRate>> {
  const rates: Record<string, LoadRate> = {};
  // Of a model that was opened for its configs alone there are none.
  if (!model.checkpoint.component("transformer").weights) return rates;
  const probed = await model.probed();
  for await (const { part, provider, weights } of probed.weights(signal)) {
    onProgress?.(0.9, `reading weights of the ${part.replace("_", " ")}`);
    const asked = signal ? { signal } : {};
    const load = async (some: readonly LoadedWeight[]): Promise<Load> => {
      const start = performance.now();
      using store = new WeightStore(model.gpu, provider);
      const plain = some.flatMap(({ request, format }) => (format ? [] : request));
      await store.load(plain, asked).catch((error: unknown) => {
        if (!(error instanceof Misfit)) throw error; // it was read all the same
      });
      const stored = some.flatMap(({ request: weight, format }) => (format ? { weight, format } : []));
      if (stored.length) await store.blocks.load(stored, asked);
      await model.gpu.idle(0, signal);
      return { weights: some.length, bytes: bytesOf(some), seconds: (performance.now() - start) / 1000 };
    };
    const rate = await measured(weights, load);
    if (rate) rates[part] = rate;
  }
  return rates;
}

/** How long some weights took together. */
export interface Load {
  readonly weights: number;
  readonly bytes: number;
  readonly seconds: number;
}

const bytesOf = (weights: readonly LoadedWeight[]): number => weights.reduce((sum, { bytes }) => sum + bytes, 0);

/** Loads of one small weight, of several, and of many of all sizes, each as a generation loads them: several weights at once. */
async function measured(
  weights: readonly LoadedWeight[],
  load: (some: readonly LoadedWeight[]) => Promise<Load>,
): Promise<LoadRate | undefined> {
  if (weights.length === 0) return undefined;
  const bySize = [...weights].sort((a, b) => a.bytes - b.bytes);
  // One of each kind compiles what unpacks the others.
  const kinds = new Map(
    bySize.map((weight) => [[weight.format, weight.request.packing, weight.request.dtype, weight.request.shape.length].join(), weight]),
  );
  await load([...kinds.values()]);
  const often = async (some: readonly LoadedWeight[]): Promise<Load> => {
    const loads: Load[] = [];
    let seconds = 0;
    while (loads.length < LOADS && seconds < READ_SECONDS) {
      loads.push(await load(some));
      seconds += loads.at(-1)!.seconds;
    }
    return { ...loads[0]!, seconds: median(loads.map(({ seconds }) => seconds)) };
  };
  const one = await often(bySize.slice(0, 1));
  const few = await often(bySize.slice(0, SMALL_WEIGHTS));
  if (bytesOf(weights) <= WHOLE_BYTES) return rateOf({ one, few, many: await often(weights) });
  let many = few;
  let rest: readonly LoadedWeight[] = bySize;
  let [all, seconds] = [0, 0];
  for (let most = FIRST_BYTES; rest.length && all < MANY_BYTES && seconds < READ_SECONDS; most *= 2) {
    const [some, others] = drawn(rest, most);
    rest = others;
    many = await load(some);
    all += many.bytes;
    seconds += many.seconds;
  }
  return rateOf({ one, few, many });
}

/** So many bytes of weights, of all sizes alike, and the others. A weight at least, however large. @param bySize from small to large */
export function drawn<T extends { readonly bytes: number }>(bySize: readonly T[], bytes: number): [some: T[], others: T[]] {
  const whole = bySize.reduce((sum, one) => sum + one.bytes, 0);
  const every = Math.min(bySize.length, Math.max(1, Math.ceil(whole / bytes)));
  const isDrawn = (_: T, i: number): boolean => (bySize.length - 1 - i) % every === 0;
  return [bySize.filter(isDrawn), bySize.filter((one, i) => !isDrawn(one, i))];
}

/**
 * The three unknowns of three loads: seconds of a load, of a weight, and of a byte. However the machine was held up in one of them, what is
 * said of as many weights and bytes as the many is what these took, a tenth of it at least for their bytes. Undefined where nothing was
 * measured.
 */
export function rateOf({ one, few, many }: { one: Load; few: Load; many: Load }): LoadRate | undefined {
  if (!(many.bytes > 0 && many.seconds > 0)) return undefined;
  // What more weights take than one does has no share of what any load takes.
  const more = ({ weights, bytes, seconds }: Load): Load => ({
    weights: weights - one.weights,
    bytes: bytes - one.bytes,
    seconds: Math.max(0, seconds - one.seconds),
  });
  const [small, large] = [more(few), more(many)];
  const divisor = large.bytes * small.weights - small.bytes * large.weights;
  const solved = divisor > 0 ? (large.bytes * small.seconds - small.bytes * large.seconds) / divisor : 0;
  // No weight takes longer than it did with its bytes.
  const ofWeight = small.weights > 0 ? small.seconds / small.weights : 0;
  const weightSeconds = Math.min(Math.max(0, solved), ofWeight, (0.9 * many.seconds) / many.weights);
  const rest = many.seconds - weightSeconds * many.weights;
  const first = Math.max(0, one.seconds - weightSeconds * one.weights);
  const solvedFixed = large.bytes > 0 ? first - (one.bytes / large.bytes) * (rest - first) : 0;
  const fixedSeconds = Math.max(0, Math.min(solvedFixed, rest - 0.1 * many.seconds));
  return { fixedSeconds, weightSeconds, bytesPerSecond: many.bytes / (rest - fixedSeconds) };
}
