/** Options on their way to another thread: data is copied, callbacks are called back, and what is neither is refused by its name. */
import { refusedOption } from "./channel.ts";
import { CALLBACKS, NOT_SENT, type SentOptions } from "./protocol.ts";

/** What the app keeps of them. */
export interface OwnOptions {
  readonly sent: Omit<SentOptions, "task">;
  readonly callbacks: ReadonlyMap<string, (...args: unknown[]) => unknown>;
  readonly signal: AbortSignal | undefined;
}

/** Throws a CogwheelError for what belongs to the thread of the model, and for what is no data. */
export function ownOptions(given: object): OwnOptions {
  const callbacks = new Map<string, (...args: unknown[]) => unknown>();
  const { signal, ...options } = given as Record<string, unknown> & { signal?: AbortSignal };
  const hub = options["hub"] as (Record<string, unknown> & { signal?: AbortSignal }) | undefined;
  const take = (from: Record<string, unknown>, names: readonly string[], prefix = ""): Record<string, unknown> => {
    const data = { ...from };
    for (const name of names) {
      const value = data[name];
      if (typeof value !== "function") continue; // what is none is refused where options are checked
      callbacks.set(prefix + name, value as () => unknown);
      delete data[name];
    }
    return data;
  };
  const refused = NOT_SENT.find((name) => options[name] !== undefined && options[name] !== false);
  if (refused) throw refusedOption(refused, "what belongs to the thread that has the device");
  const data = take(options, CALLBACKS);
  if (hub && typeof hub === "object") {
    const { signal: _, ...rest } = hub;
    data["hub"] = take(rest, CALLBACKS, "hub.");
  }
  for (const [name, value] of Object.entries(data)) data[name] = plain(value, name);
  return { sent: { data, callbacks: [...callbacks.keys()] }, callbacks, signal: signal ?? hub?.signal };
}

/** Addresses become text; what is in lists and records is looked at too. Memory, files and the like are left to the copying. */
function plain(value: unknown, name: string): unknown {
  if (value instanceof URL) return value.href;
  if (typeof value === "function" || typeof value === "symbol") throw refusedOption(name, `a ${typeof value}`);
  if (Array.isArray(value)) return value.map((one, i) => plain(one, `${name}[${i}]`));
  if (typeof value !== "object" || value === null || ![Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null))
    return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one, `${name}.${key}`)]));
}
