/** Signals made from others. */
import { getEventListeners } from "node:events";
import { expect, it } from "vitest";
import { linkedAbort } from "../../src/base/linked-abort.ts";

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
