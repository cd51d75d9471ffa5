/** Signals made from others. */
import { getEventListeners } from "node:events";
import { expect, it } from "vitest";
import { linkedAbort } from "../../src/base/linked-abort.ts";
import { pause } from "../../src/base/pause.ts";

it("is aborted with the first of its signals and its reason, at once where one is aborted already, and by itself", () => {
  const [a, b] = [new AbortController(), new AbortController()];
  using both = linkedAbort(a.signal, undefined, b.signal);
  using later = linkedAbort(both.signal);
  expect(both.signal.aborted).toBe(false);
  b.abort("enough");
  a.abort("too late");
  expect([both.signal.reason, later.signal.reason]).toEqual(["enough", "enough"]);
  using after = linkedAbort(new AbortController().signal, b.signal);
  expect(after.signal.reason).toBe("enough");
  using own = linkedAbort(new AbortController().signal);
  own.abort("itself");
  expect(own.signal.reason).toBe("itself");
});

it("leaves nothing with a signal, and has one listener there however many there are", () => {
  const { signal } = new AbortController();
  const many = Array.from({ length: 40 }, () => linkedAbort(signal, signal));
  expect(getEventListeners(signal, "abort")).toHaveLength(1);
  for (const one of many) {
    one[Symbol.dispose]();
    one[Symbol.dispose]();
  }
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
  using again = linkedAbort(signal);
  expect(again.signal.aborted).toBe(false);
  expect(getEventListeners(signal, "abort")).toHaveLength(1);
});

it("is waited with by any number, who leave nothing behind", async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const listeners = (): number => getEventListeners(signal, "abort").length;
  const short = Array.from({ length: 20 }, () => pause(1, signal));
  expect(listeners()).toBe(1);
  await Promise.all(short);
  expect(listeners()).toBe(0);
  const long = Array.from({ length: 20 }, () => pause(60_000, signal).catch((reason: unknown) => reason));
  controller.abort("enough");
  expect(new Set(await Promise.all(long))).toEqual(new Set(["enough"]));
  expect(listeners()).toBe(0);
  await expect(pause(1, signal)).rejects.toBe("enough");
});
