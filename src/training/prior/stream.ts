/** Samples of what the model is to keep, among those that it learns. */
import { drawsOf } from "../draws.ts";
import type { GivenSample, StreamedSample } from "../training-sample.ts";

/** The seed that prior samples are shuffled by. */
export const priorSeed = (seed: number): number => drawsOf(seed, "prior", 0).below(2 ** 31);

/** Shares such as 0.6 are a little less than they say. */
const ROUNDING = 1e-9;

/** Mixes prior samples in, so that their share holds at every place; ends where either does. */
export async function* withPrior(
  own: AsyncIterable<GivenSample>,
  prior: AsyncGenerator<GivenSample, void, void>,
  share: number,
): AsyncGenerator<StreamedSample, void, void> {
  const behind = (n: number): number => Math.floor((n * share) / (1 - share) + ROUNDING);
  let n = 0;
  try {
    for await (const sample of own) {
      yield sample;
      n++;
      for (let i = behind(n - 1); i < behind(n); i++) {
        const { value, done } = await prior.next();
        if (done) return;
        yield asPrior(value);
      }
    }
  } finally {
    await prior.return();
  }
}

const asPrior = (sample: GivenSample): StreamedSample =>
  "load" in sample
    ? { shape: sample.shape, textTokens: sample.textTokens, load: () => sample.load(), prior: true }
    : {
        latents: sample.latents,
        shape: sample.shape,
        text: sample.text,
        ...(sample.condition ? { condition: sample.condition } : {}),
        prior: true,
      };
