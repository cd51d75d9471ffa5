// Every room imports this file, so what is imported here is there before any class is defined, however a bundler cuts its chunks.
import "./dispose.ts";

/**
 * Every error a user can meet: `[room] rule, got value; remedy.`
 * `room` names the part of the engine (an op, `checkpoint`, `cli` …) so that a report says where to look.
 */
export class CogwheelError extends Error {
  override readonly name = "CogwheelError";
  constructor(
    readonly room: string,
    rule: string,
    options?: { cause?: unknown },
  ) {
    super(`[${room}] ${rule}`, options);
  }
}
