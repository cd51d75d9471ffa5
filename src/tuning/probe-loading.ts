/** How fast a model's weights come, from where they are stored to where its kernels read them. */
import type { LoadRate } from "../gpu/rates.ts";
import type { CogVideoX } from "../pipelines/cogvideox/pipeline.ts";
import type { LoadedWeight } from "../pipelines/cogvideox/probed.ts";
import { Misfit } from "../run/misfit.ts";
import { WeightStore } from "../run/weight-store.ts";
import type { ProbeOptions } from "./probe.ts";

/** Of each part so many weights of the most bytes, and of the fewest. */
const LARGE_BYTES = 128 * 2 ** 20;
const SMALL_WEIGHTS = 32;
/** Bytes of a first load; each later one is of twice as many, and none is begun after so many seconds. */
const FIRST_BYTES = 4 * 2 ** 20;
const READ_SECONDS = 1;

/** Rates by the part of the model whose weights they are; of parts without any, none. */
export async function probeLoading(model: CogVideoX, { signal, onProgress }: ProbeOptions): Promise<Record<string, LoadRate>> {
  const rates: Record<string, LoadRate> = {};
  // Of a model that was opened for its configs alone there are none.
  if (!model.checkpoint.component("transformer").weights) return rates;
  const probed = await model.probed();
  for await (const { part, provider, weights } of probed.weights(signal)) {
    onProgress?.(0.9, `reading weights of the ${part.replace("_", " ")}`);
    const asked = signal ? { signal } : {};
    using store = new WeightStore(model.gpu, provider);
    const load = async (some: readonly LoadedWeight[]): Promise<Load> => {
      const start = performance.now();
      const plain = some.flatMap(({ request, format }) => (format ? [] : request));
      await store.load(plain, asked).catch((error: unknown) => {
        if (!(error instanceof Misfit)) throw error; // it was read all the same
      });
      await store.blocks.load(
        some.flatMap(({ request: weight, format }) => (format ? { weight, format } : [])),
        asked,
      );
      await model.gpu.idle(0, signal);
      return { weights: some.length, bytes: bytesOf(some), seconds: (performance.now() - start) / 1000 };
    };
    const rate = rateOf(await measured(weights, load));
    if (rate) rates[part] = rate;
  }
  return rates;
}

interface Load {
  readonly weights: number;
  readonly bytes: number;
  readonly seconds: number;
}

const bytesOf = (weights: readonly LoadedWeight[]): number => weights.reduce((sum, { bytes }) => sum + bytes, 0);

/** Loads of few bytes a weight and of many, each as a generation loads them: several weights at once. */
async function measured(
  weights: readonly LoadedWeight[],
  load: (some: readonly LoadedWeight[]) => Promise<Load>,
): Promise<{ few: Load; many: Load } | undefined> {
  const bySize = [...weights].sort((a, b) => a.bytes - b.bytes);
  // One of each kind compiles what unpacks the others.
  const kinds = new Map(
    bySize.map((weight) => [[weight.format, weight.request.packing, weight.request.dtype, weight.request.shape.length].join(), weight]),
  );
  const first = new Set(kinds.values());
  const others = bySize.filter((weight) => !first.has(weight));
  if (others.length === 0) return undefined;
  await load([...first]);
  const few = await load(others.splice(0, Math.min(SMALL_WEIGHTS, Math.ceil(others.length / 2))));
  let many: Load = few;
  let [all, seconds] = [0, 0];
  for (let most = FIRST_BYTES; others.length && all < LARGE_BYTES && seconds < READ_SECONDS; most *= 2) {
    const some = [others.pop()!];
    while (others.length && bytesOf(some) + others.at(-1)!.bytes <= most) some.push(others.pop()!);
    many = await load(some);
    all += many.bytes;
    seconds += many.seconds;
  }
  return { few, many };
}

/** The two unknowns of two loads: seconds of a weight, and of a byte. */
function rateOf(loads: { few: Load; many: Load } | undefined): LoadRate | undefined {
  if (!loads) return undefined;
  const { few, many } = loads;
  if (!(many.bytes > 0 && many.seconds > 0)) return undefined;
  const divisor = many.bytes * few.weights - few.bytes * many.weights;
  const weightSeconds = divisor > 0 ? (many.bytes * few.seconds - few.bytes * many.seconds) / divisor : 0;
  // No weight takes longer than it did with its bytes.
  const within = Math.min(Math.max(0, weightSeconds), few.seconds / few.weights, (0.5 * many.seconds) / many.weights);
  return { bytesPerSecond: many.bytes / (many.seconds - within * many.weights), weightSeconds: within };
}
