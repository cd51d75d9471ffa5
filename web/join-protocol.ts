/** What the page that lends its GPU and its worker tell each other. */
import type { PageConnection } from "../src/jobs/nats-page.ts";

export type ToJoined =
  | { readonly type: "start"; readonly connection: PageConnection; readonly leaseMs?: number }
  | { readonly type: "stop" };

export type FromJoined =
  | { readonly type: "joined"; readonly as: string }
  | { readonly type: "note"; readonly text: string }
  /** With what went wrong, or without a word where it was asked to stop. */
  | { readonly type: "ended"; readonly error?: string };
