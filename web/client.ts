/** The page's end of the worker: requests with answers, and news on the way. */
import type { FromWorker, News, ToWorker } from "./protocol.ts";

/** An error that the worker reported. */
export class WorkerError extends Error {
  constructor(
    message: string,
    readonly resumable: boolean,
    readonly cancelled: boolean,
  ) {
    super(message);
  }
}

export class Client {
  readonly #worker: Worker;
  #next = 1;
  readonly #open = new Map<
    number,
    {
      type: ToWorker["type"];
      resolve: (value: never) => void;
      reject: (error: Error) => void;
      onNews: ((news: News) => void) | undefined;
    }
  >();

  constructor(url: URL) {
    this.#worker = new Worker(url, { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
    this.#worker.onerror = (event) => {
      const error = new WorkerError(
        `The worker stopped: ${event.message || "its script could not be loaded"}. Reload the page.`,
        false,
        false,
      );
      for (const { reject } of this.#open.values()) reject(error);
      this.#open.clear();
    };
  }

  ask<T>(message: ToWorker, onNews?: (news: News) => void): Promise<T> {
    const id = this.#next++;
    this.#worker.postMessage({ id, ...message });
    return new Promise<T>((resolve, reject) => this.#open.set(id, { type: message.type, resolve, reject, onNews }));
  }

  /** Stops requests of these types, those too that wait for their turn; no other. */
  cancel(...types: ToWorker["type"][]): void {
    const ids = [...this.#open].flatMap(([id, { type }]) => (types.includes(type) ? [id] : []));
    if (ids.length) void this.ask({ type: "cancel", ids });
  }

  #receive(data: FromWorker): void {
    const entry = this.#open.get(data.id);
    if (!entry) return;
    if (data.type === "answer") entry.resolve(data.value as never);
    else if (data.type === "error") entry.reject(new WorkerError(data.message, data.resumable ?? false, data.cancelled ?? false));
    else entry.onNews?.(data);
    if (data.type === "answer" || data.type === "error") this.#open.delete(data.id);
  }
}
