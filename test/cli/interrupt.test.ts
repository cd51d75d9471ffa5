/** What is a stop, and what went wrong beside one. */
import { expect, test } from "vitest";
import { CogwheelError } from "../../src/base/errors.ts";
import { endedBy, isStop } from "../../src/cli/terminal/interrupt.ts";

test("an error that came beside a stop is told as ever", () => {
  const controller = new AbortController();
  const { signal } = controller;
  const stop = new Error("stopped by SIGINT");
  const full = new CogwheelError("output", "the disk must have room, got none left");
  expect(isStop(stop, signal)).toBe(false);
  controller.abort(stop);
  const wrapped = new CogwheelError("data", "a.mp4 could not be read", { cause: stop });
  const aborted = new DOMException("This operation was aborted", "AbortError");
  for (const error of [stop, wrapped, aborted]) expect([isStop(error, signal), endedBy(error, signal)]).toEqual([true, stop]);
  for (const error of [full, "words", undefined]) expect([isStop(error, signal), endedBy(error, signal)]).toEqual([false, error]);
});
