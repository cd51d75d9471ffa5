/** A trie over byte strings: the pieces of a vocabulary, found by walking a text byte by byte. */
export class ByteTrie {
  /** node · 256 + byte → child. Node 0 is the root. */
  readonly #children = new Map<number, number>();
  /** The value that ends at a node, −1 for none. */
  readonly #values: number[] = [-1];

  /** Stores a value, a whole number from 0, under a key. */
  insert(key: Uint8Array, value: number): void {
    let node = 0;
    for (const byte of key) {
      const edge = node * 256 + byte;
      let child = this.#children.get(edge);
      if (child === undefined) {
        child = this.#values.push(-1) - 1;
        this.#children.set(edge, child);
      }
      node = child;
    }
    this.#values[node] = value;
  }

  /** The child of `node` along `byte`, or −1; the root is node 0. */
  step(node: number, byte: number): number {
    return this.#children.get(node * 256 + byte) ?? -1;
  }

  /** The value stored at a node, or −1. */
  value(node: number): number {
    return this.#values[node]!;
  }

  /** The length of the longest key that `text` holds at `start`; 0 for none. */
  longestMatch(text: Uint8Array, start: number): number {
    let node = 0;
    let longest = 0;
    for (let i = start; i < text.length; i++) {
      node = this.step(node, text[i]!);
      if (node < 0) break;
      if (this.#values[node]! >= 0) longest = i + 1 - start;
    }
    return longest;
  }
}

/**
 * How many bytes the UTF-8 character takes that starts with `lead`, judged by that byte alone as SentencePiece does
 * (a trail byte counts as a character of one byte).
 */
export function characterBytes(lead: number): number {
  return lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}
