/** The error of this kind among an error and its causes: what is passed on with more words is still what it was. */
export function causeOf<T extends Error>(error: unknown, kind: abstract new (...args: never[]) => T): T | undefined {
  for (let one: unknown = error; one instanceof Error; one = one.cause) if (one instanceof kind) return one;
  return undefined;
}
