/** Calls of a NATS server that is away for a while, or without room. */
import { pause } from "../base/pause.ts";
import { QueueUnusable } from "./backend.ts";

/** A server that is away for so long is waited for. */
const PATIENCE_MS = 30_000;

/** The server's own number of an error; undefined for what did not come from a server. */
export const apiCode = (error: unknown): number | undefined => (error as { code?: unknown; status?: unknown }).code as number | undefined;

/** Of an account, of the server. Of a write that its disk has no room for a server says nothing at all. */
const FULL = [10002, 10023, 10028, 10047];
const isFull = (error: unknown): boolean =>
  FULL.includes(apiCode(error) ?? 0) || /no space left|quota exceeded/i.test((error as Error).message);
const MAKE_ROOM = "make room on its disk, or raise max_file_store in its jetstream block";

const PASSING = /timeout|no responders|disconnect|connection|503|not available|unavailable|no suitable peers/i;
/** What the client says of a stream whose cluster has no leader at the moment, where nobody answers: true of servers without JetStream only. */
const LEADERLESS = /jetstream is not enabled/i;

/**
 * Calls again what a broken connection left unanswered.
 *
 * @param call is told whether an earlier call may have had its effect
 * @param enabled JetStream is known to be there
 */
export async function patiently<T>(call: (again: boolean) => Promise<T>, enabled = true): Promise<T> {
  const until = Date.now() + PATIENCE_MS;
  for (let tries = 0; ; tries++) {
    try {
      return await call(tries > 0);
    } catch (error) {
      const told = `${(error as Error).name} ${(error as Error).message}`;
      if (isFull(error))
        throw new QueueUnusable(`a NATS server must have room for what it is given, got ${(error as Error).message}; ${MAKE_ROOM}`, {
          cause: error,
        });
      const passing = PASSING.test(told) || (enabled && LEADERLESS.test(told));
      if (!passing || /draining|closed/i.test((error as Error).message)) throw error;
      if (Date.now() > until)
        throw new QueueUnusable(
          `a NATS server must answer within ${PATIENCE_MS / 1000} s, got ${(error as Error).message}; see whether it runs; ` +
            `where its log says that its disk is full, ${MAKE_ROOM}, and start it again`,
          { cause: error },
        );
      await pause(Math.min(100 * 2 ** tries, 2000));
    }
  }
}
