/** Waiting that a signal ends. */
import { onAbort } from "./linked-abort.ts";

/** Waits, unless the signal says to stop, whose reason it throws then. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let heard: Disposable | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(resolve, ms);
      heard = signal && onAbort(signal, () => reject(signal.reason as Error));
    });
  } finally {
    clearTimeout(timer);
    heard?.[Symbol.dispose]();
  }
}
