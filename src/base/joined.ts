/** The parts one behind the other, in memory of their own. */
export const joined = (parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> => filled(new Uint8Array(lengthOf(parts)), parts);

/** The same of floats. */
export const joinedFloats = (parts: readonly Float32Array[]): Float32Array<ArrayBuffer> => filled(new Float32Array(lengthOf(parts)), parts);

const lengthOf = (parts: readonly ArrayLike<number>[]): number => parts.reduce((sum, { length }) => sum + length, 0);

function filled<T extends { set(values: ArrayLike<number>, at: number): void }>(out: T, parts: readonly ArrayLike<number>[]): T {
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
