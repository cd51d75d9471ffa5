/** Names that an op's caller may choose from. Types say them too, but JavaScript does not look at types. */
import { CogwheelError } from "../base/errors.ts";

/** Throws where `name` is given and none of `known`: it would otherwise pass for the default. */
export function assertKnown(op: string, what: string, name: unknown, known: readonly string[]): void {
  if (name === undefined || known.includes(name as string)) return;
  throw new CogwheelError(op, `${what} must be ${known.join(" or ")}, got ${JSON.stringify(name)}; leave it out for the default`);
}
