/** Aborting with others: one signal from several, and nothing that stays behind. */

/** Who hears of a signal. It has one listener for all of them: Node warns of a leak where there are more than ten. */
const heard = new WeakMap<AbortSignal, { readonly all: Set<() => void>; readonly tell: () => void }>();

function listen(signal: AbortSignal, stop: () => void): void {
  let known = heard.get(signal);
  if (!known) {
    const all = new Set<() => void>();
    known = {
      all,
      tell: () => {
        for (const one of all) one();
      },
    };
    heard.set(signal, known);
    signal.addEventListener("abort", known.tell, { once: true });
  }
  known.all.add(stop);
}

function forget(signal: AbortSignal, stop: () => void): void {
  const known = heard.get(signal);
  known?.all.delete(stop);
  if (known?.all.size !== 0) return;
  signal.removeEventListener("abort", known.tell);
  heard.delete(signal);
}

/** Calls `stop` when the signal aborts, unless disposed of before. To be given a signal that has not aborted. */
export function onAbort(signal: AbortSignal, stop: () => void): Disposable {
  // A function of its own: who listens twice is called twice, and each forgets but itself.
  const mine = (): void => stop();
  listen(signal, mine);
  return { [Symbol.dispose]: () => forget(signal, mine) };
}

/**
 * A controller that is aborted with the first of several signals too, until it is disposed of. `AbortSignal.any` leaves something of each
 * result with its sources for as long as they live (Node 20): too much where every read of a weight makes one from the signal of a whole
 * model.
 */
export function linkedAbort(...signals: readonly (AbortSignal | undefined)[]): AbortController & Disposable {
  const controller = new AbortController();
  const links = signals.flatMap((signal) => (signal ? [{ signal, stop: (): void => controller.abort(signal.reason) }] : []));
  for (const { signal, stop } of links) {
    if (signal.aborted) stop();
    else listen(signal, stop);
  }
  return Object.assign(controller, {
    [Symbol.dispose]() {
      for (const { signal, stop } of links) forget(signal, stop);
    },
  });
}
