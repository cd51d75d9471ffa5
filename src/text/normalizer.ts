/**
 * Text normalisation as SentencePiece does it. The rules are not code but a table in the model file: a double-array
 * trie of byte sequences, each with a replacement. At every position the longest rule wins; where none applies one
 * character is kept. So NFKC and all its exceptions come from the file, and nothing here knows Unicode beyond UTF-8.
 * Facts from google/sentencepiece src/normalizer.cc, and darts-clone's darts.h for the trie's layout.
 */
import { CogwheelError } from "../base/errors.ts";
import type { ByteTrie } from "./byte-trie.ts";
import type { SpieceModel } from "./spiece-model.ts";

/** Normalised text. */
export interface Normalized {
  /** UTF-8, with U+2581 for every space when the model escapes them. */
  bytes: Uint8Array;
  /** For every byte, and one past the last, the byte of the input that it comes from. */
  origins: Uint32Array;
}

/** Bytes that a text may have, before and after it is normalised; a model takes some 226 pieces of it. */
const MAX_TEXT = 2 ** 21;
/** Bytes that one rule may take, and give. The longest of NFKC take 12 and give 33. */
const MAX_RULE = 256;

const SPACE = 0x20;
const SPACE_SYMBOL = [0xe2, 0x96, 0x81]; // U+2581 ▁
const REPLACEMENT = new Uint8Array([0xef, 0xbf, 0xbd]); // U+FFFD

/** A piece of output of one step, and how many bytes of input it took. */
interface Step {
  from: Uint8Array;
  start: number;
  end: number;
  consumed: number;
}

/** Normalises text by the rules of one model. */
export class Normalizer {
  readonly #spec: SpieceModel;
  readonly #symbols: ByteTrie | null;
  readonly #rules: CharsMap | null;

  /** @param symbols the user-defined symbols, which go through untouched; null for none */
  constructor(spec: SpieceModel, symbols: ByteTrie | null, file = "spiece.model") {
    this.#spec = spec;
    this.#symbols = symbols;
    this.#rules = spec.charsmap.length > 0 ? new CharsMap(spec.charsmap, file) : null;
  }

  normalize(input: Uint8Array): Normalized {
    const { addDummyPrefix, removeExtraWhitespaces, escapeWhitespaces, treatWhitespaceAsSuffix } = this.#spec;
    const space = escapeWhitespaces ? SPACE_SYMBOL : [SPACE];
    checkText(input.length);
    const out = new Output();
    let at = 0;
    const put = (byte: number): void => out.put(byte, at);

    if (removeExtraWhitespaces) {
      while (at < input.length) {
        const step = this.#step(input, at);
        if (step.end - step.start !== 1 || step.from[step.start] !== SPACE) break;
        at += step.consumed;
      }
    }
    // Nothing, or nothing but space, gives nothing: not even the dummy prefix.
    if (at === input.length) return { bytes: new Uint8Array(0), origins: Uint32Array.of(at) };

    if (!treatWhitespaceAsSuffix && addDummyPrefix) space.forEach(put);
    let afterSpace = removeExtraWhitespaces;
    while (at < input.length) {
      const { from, start, end, consumed } = this.#step(input, at);
      let i = start;
      if (afterSpace) while (i < end && from[i] === SPACE) i++;
      if (i < end) {
        for (; i < end; i++) {
          if (from[i] === SPACE) space.forEach(put);
          else put(from[i]!);
        }
        afterSpace = from[end - 1] === SPACE;
      }
      at += consumed;
      if (!removeExtraWhitespaces) afterSpace = false;
    }
    if (removeExtraWhitespaces) {
      // Also a U+2581 that the text itself ends with goes, as in SentencePiece.
      while (out.endsWith(space)) at = out.drop(space.length);
    }
    if (treatWhitespaceAsSuffix && addDummyPrefix) space.forEach(put);
    return out.done(at);
  }

  /** What the text at `at` becomes: a symbol as it is, the longest rule's replacement, or one character. */
  #step(input: Uint8Array, at: number): Step {
    const symbol = this.#symbols?.longestMatch(input, at) ?? 0;
    if (symbol > 0) return { from: input, start: at, end: at + symbol, consumed: symbol };
    const rule = this.#rules?.longestRule(input, at);
    if (rule) return rule;
    const length = validCharacter(input, at);
    if (length === 0) return { from: REPLACEMENT, start: 0, end: 3, consumed: 1 };
    return { from: input, start: at, end: at + length, consumed: length };
  }
}

function checkText(bytes: number): void {
  if (bytes > MAX_TEXT)
    throw new CogwheelError(
      "checkpoint",
      `a text may have at most ${MAX_TEXT} bytes, before and after it is normalised, ` +
        `got ${bytes === MAX_TEXT + 1 ? "more" : bytes}; shorten it`,
    );
}

/** Bytes and their origins, in arrays that grow. */
class Output {
  #bytes = new Uint8Array(1024);
  #origins = new Uint32Array(1024);
  #length = 0;

  put(byte: number, origin: number): void {
    if (this.#length === this.#bytes.length) this.#grow();
    this.#bytes[this.#length] = byte;
    this.#origins[this.#length++] = origin;
  }

  #grow(): void {
    checkText(this.#length + 1);
    const [bytes, origins] = [this.#bytes, this.#origins];
    this.#bytes = new Uint8Array(2 * this.#length);
    this.#origins = new Uint32Array(2 * this.#length);
    this.#bytes.set(bytes);
    this.#origins.set(origins);
  }

  endsWith(end: readonly number[]): boolean {
    const start = this.#length - end.length;
    return start >= 0 && end.every((byte, i) => this.#bytes[start + i] === byte);
  }

  /** Removes the last bytes and returns the origin of the first of them. */
  drop(count: number): number {
    this.#length -= count;
    return this.#origins[this.#length]!;
  }

  done(origin: number): Normalized {
    this.put(0, origin);
    return { bytes: this.#bytes.slice(0, this.#length - 1), origins: this.#origins.slice(0, this.#length) };
  }
}

/** The blob `precompiled_charsmap`: u32 size of the trie, the trie's u32 units, and the replacements, each ended by 0. */
class CharsMap {
  readonly #units: Uint32Array;
  readonly #replacements: Uint8Array;
  readonly #file: string;

  constructor(blob: Uint8Array, file: string) {
    this.#file = file;
    const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
    const trieBytes = blob.length >= 4 ? view.getUint32(0, true) : 0;
    if (blob.length <= 4 || trieBytes > blob.length - 4 || trieBytes < 4 || trieBytes % 4 !== 0) {
      throw this.#broken(`a trie of ${trieBytes} bytes in ${blob.length}`);
    }
    this.#units = new Uint32Array(trieBytes / 4);
    for (let i = 0; i < this.#units.length; i++) this.#units[i] = view.getUint32(4 + 4 * i, true);
    this.#replacements = blob.subarray(4 + trieBytes);
    if (this.#replacements.at(-1) !== 0) throw this.#broken("replacements without an end");
  }

  #broken(got: string): CogwheelError {
    return new CogwheelError(
      "checkpoint",
      `${this.#file}: precompiled_charsmap must be a trie and its replacements, got ${got}; download the file again`,
    );
  }

  #unit(index: number): number {
    const unit = this.#units[index];
    if (unit === undefined) throw this.#broken(`a trie that points at unit ${index} of ${this.#units.length}`);
    return unit;
  }

  longestRule(input: Uint8Array, at: number): Step | null {
    // A unit is: bit 31 and bits 0…7 the label, bit 8 "a value hangs here", bits 10…30 the offset of its children,
    // in steps of 256 if bit 9 is set. A child is at (offset xor label); a value is the unit at the offset itself.
    let node = offset(this.#unit(0));
    let length = 0;
    let value = 0;
    for (let i = at; i < input.length; i++) {
      node ^= input[i]!;
      const unit = this.#unit(node);
      if ((unit & 0x800000ff) >>> 0 !== input[i]) break;
      node ^= offset(unit);
      if (i + 1 - at > MAX_RULE) throw this.#broken(`a rule for more than ${MAX_RULE} bytes`);
      if ((unit >>> 8) & 1) {
        length = i + 1 - at;
        value = this.#unit(node) & 0x7fffffff;
      }
    }
    if (length === 0) return null;
    if (value >= this.#replacements.length) throw this.#broken(`a rule that points at byte ${value} of ${this.#replacements.length}`);
    const size = this.#replacements.subarray(value, value + MAX_RULE + 1).indexOf(0);
    if (size < 0) throw this.#broken(`a rule that gives more than ${MAX_RULE} bytes`);
    return { from: this.#replacements, start: value, end: value + size, consumed: length };
  }
}

function offset(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

/**
 * The length of the valid UTF-8 character at `at`, or 0 for one that is cut, overlong, a surrogate or out of range.
 * Text from JavaScript is always valid; bytes from elsewhere may not be.
 */
function validCharacter(input: Uint8Array, at: number): number {
  const lead = input[at]!;
  const trail = (i: number): number => {
    const byte = input[at + i];
    return byte !== undefined && (byte & 0xc0) === 0x80 ? byte & 0x3f : -1;
  };
  if (lead < 0x80) return 1;
  const length = lead >= 0xf8 ? 0 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0;
  if (length === 0) return 0;
  let code = lead & (0x7f >> length);
  for (let i = 1; i < length; i++) {
    const bits = trail(i);
    if (bits < 0) return 0;
    code = code * 64 + bits;
  }
  const least = length === 2 ? 0x80 : length === 3 ? 0x800 : 0x10000;
  return code >= least && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000) ? length : 0;
}
