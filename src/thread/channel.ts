/** One end of what two threads say to each other: each calls the other, and may be told that a call is given up. */
import { CogwheelError } from "../base/errors.ts";
import { receivedError, sentError, TheirError } from "./errors.ts";
import type { Message, Port } from "./protocol.ts";

/** What this end does when it is called, or told something. */
export interface Answers {
  /** @param signal aborts when the caller gives the call up */
  called(name: string, args: readonly unknown[], signal: AbortSignal): unknown;
  told(name: string, args: readonly unknown[]): void;
  /** Calls are open that the other end has to answer, or no longer. */
  busy?(busy: boolean): void;
}

/** An answer whose memory goes along with it. */
export class Transferred<T = unknown> {
  constructor(
    readonly value: T,
    readonly buffers: readonly ArrayBuffer[],
  ) {}
}

interface Open {
  readonly signal: AbortSignal | undefined;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

export class Channel {
  #next = 1;
  readonly #open = new Map<number, Open>();
  /** Calls of the other end's that are under way here. */
  readonly #underWay = new Map<number, AbortController>();
  /** What went wrong here in answer to calls, by their numbers, until whoever called comes back with it. */
  readonly #thrown = new Map<number, unknown>();
  #dead: Error | undefined;

  /** @param theirs errors of the other end's answers are its own: they are sent back to it as such */
  constructor(
    private readonly port: Port,
    private readonly answers: Answers,
    private readonly theirs = false,
  ) {
    port.hear((message) => this.#heard(message));
  }

  /** Resolves with the other end's answer, or rejects with its error; with the signal's reason once the other end has given up. */
  call<T>(name: string, args: readonly unknown[], signal?: AbortSignal): Promise<T> {
    if (this.#dead) return Promise.reject(this.#dead);
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    const id = this.#next++;
    try {
      this.port.post({ type: "call", id, name, args }, []);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    const abort = (): void => this.port.post({ type: "abort", id, reason: textOf(signal!.reason) }, []);
    signal?.addEventListener("abort", abort, { once: true });
    let settle!: Pick<Open, "resolve" | "reject">;
    const promise = new Promise<unknown>((resolve, reject) => (settle = { resolve, reject })).finally(() => {
      signal?.removeEventListener("abort", abort);
      this.#open.delete(id);
      if (this.#open.size === 0) this.answers.busy?.(false);
    });
    this.#open.set(id, { signal, ...settle });
    if (this.#open.size === 1) this.answers.busy?.(true);
    return promise as Promise<T>;
  }

  /** Says something that is not answered. */
  tell(name: string, args: readonly unknown[], buffers: readonly ArrayBuffer[] = []): void {
    this.port.post({ type: "news", name, args }, buffers);
  }

  /** The other end is gone: what is open fails, and so does what comes later. */
  fail(error: Error): void {
    this.#dead ??= error;
    for (const { reject } of this.#open.values()) reject(error);
    for (const controller of this.#underWay.values()) controller.abort(error);
  }

  #heard(message: Message): void {
    if (message.type === "news") this.answers.told(message.name, message.args);
    else if (message.type === "call") void this.#answer(message.id, message.name, message.args);
    else if (message.type === "abort") this.#underWay.get(message.id)?.abort(new DOMException(message.reason, "AbortError"));
    else if (message.type === "answer") this.#open.get(message.id)?.resolve(message.value);
    else if (message.type === "failure") {
      const open = this.#open.get(message.id);
      const { id, error } = message;
      if (!open) return;
      if (this.theirs && error.kind !== "aborted") open.reject(new TheirError(id, error.kind === "error" ? error.message : "it failed"));
      else open.reject(receivedError(error, { reason: open.signal?.reason, own: (id) => this.#thrown.get(id) }));
    }
  }

  async #answer(id: number, name: string, args: readonly unknown[]): Promise<void> {
    const controller = new AbortController();
    this.#underWay.set(id, controller);
    try {
      const value = await this.answers.called(name, args, controller.signal);
      if (value instanceof Transferred) this.port.post({ type: "answer", id, value: value.value }, value.buffers);
      else this.port.post({ type: "answer", id, value }, []);
    } catch (error) {
      if (this.#dead) return;
      if (!this.theirs) this.#thrown.set(id, error);
      const { aborted, reason } = controller.signal;
      this.port.post({ type: "failure", id, error: sentError(error, aborted ? reason : undefined) }, []);
    } finally {
      this.#underWay.delete(id);
    }
  }
}

const textOf = (reason: unknown): string => (reason instanceof Error ? reason.message : String(reason));

/** What options are copied or refused with, by their names. */
export function refusedOption(name: string, got: string): CogwheelError {
  return new CogwheelError(
    "worker",
    `${name} must be data that another thread can be given, got ${got}; leave it out, or open the model here`,
    {
      code: "invalid-request",
    },
  );
}
