/**
 * Text → ids by a SentencePiece Unigram model: normalise, then take the split into pieces with the largest sum of log
 * probabilities. Ids must equal those of SentencePiece itself, so its arithmetic counts too: every sum is rounded to
 * float32 before it is compared, and on a tie the piece that was found first (the one starting further left) stays.
 * Facts from google/sentencepiece: unigram_model.cc (EncodeOptimized), sentencepiece_processor.cc; where its versions
 * differ (ties, the bonus of user-defined symbols) this follows what 0.2.3 does.
 */
import { CogwheelError } from "../base/errors.ts";
import { ByteTrie, characterBytes } from "./byte-trie.ts";
import { Normalizer } from "./normalizer.ts";
import { byteOfPiece, PieceType, pieceText, readSpieceModel } from "./spiece-model.ts";
import type { SpieceModel } from "./spiece-model.ts";

/** An unknown character costs this much more than the least likely piece. */
const UNKNOWN_PENALTY = 10;
/** What a user-defined symbol scores for every byte after its first, so that it beats the pieces it is made of. */
const SYMBOL_BONUS = 0.1;

/** How many bytes of pieces a text may be compared with: its own times the longest piece's. Real pieces have up to 64 bytes. */
const MAX_COMPARISONS = 2 ** 26;

/** Ids and where they come from. */
export interface Encoded {
  ids: number[];
  /** For every id the byte of the UTF-8 input at which its text starts. */
  starts: number[];
}

/** The encoder of one `spiece.model` file. */
export class SentencePiece {
  /** What the file says. */
  readonly model: SpieceModel;
  readonly #normalizer: Normalizer;
  readonly #trie = new ByteTrie();
  readonly #reserved = new Map<string, number>();
  readonly #byteIds: number[] = [];
  readonly #unknownId: number;
  readonly #unknownScore: number;
  readonly #file: string;
  /** Bytes of the longest piece. */
  readonly #longest: number;
  /** By id; only those of the pieces in the trie are used. */
  readonly #scores: Float32Array;

  /**
   * @param bytes the whole file
   * @param file what messages call it
   */
  constructor(bytes: Uint8Array, file = "spiece.model") {
    this.model = readSpieceModel(bytes, file);
    this.#file = file;
    this.#longest = this.model.pieces.reduce((most, { bytes: { length } }) => Math.max(most, length), 1);
    this.#scores = new Float32Array(this.model.pieces.length);
    const symbols = new ByteTrie();
    let hasSymbols = false;
    let least = Infinity;
    let unknownId = -1;
    this.model.pieces.forEach(({ bytes: piece, score, type }, id) => {
      switch (type) {
        case PieceType.unknown:
          unknownId = id;
          this.#reserved.set(pieceText(piece), id);
          break;
        case PieceType.control:
          this.#reserved.set(pieceText(piece), id);
          break;
        case PieceType.byte:
          this.#byteIds[byteOfPiece(pieceText(piece))!] = id;
          this.#reserved.set(pieceText(piece), id);
          break;
        case PieceType.unused: // never chosen
          break;
        case PieceType.userDefined:
          symbols.insert(piece, id);
          hasSymbols = true;
          this.#scores[id] = (piece.length - 1) * SYMBOL_BONUS;
          this.#trie.insert(piece, id);
          break;
        default:
          least = Math.min(least, score);
          this.#scores[id] = score;
          this.#trie.insert(piece, id);
      }
    });
    this.#unknownId = unknownId;
    this.#unknownScore = Math.fround(least - UNKNOWN_PENALTY);
    this.#normalizer = new Normalizer(this.model, hasSymbols ? symbols : null, file);
  }

  /** The number of pieces, and so of ids. */
  get vocabularySize(): number {
    return this.model.pieces.length;
  }

  /** The id of a piece by its name, or null when the model has none. */
  pieceId(name: string): number | null {
    const reserved = this.#reserved.get(name);
    if (reserved !== undefined) return reserved;
    let node = 0;
    for (const byte of new TextEncoder().encode(name)) {
      node = this.#trie.step(node, byte);
      if (node < 0) return null;
    }
    const id = this.#trie.value(node);
    return id < 0 ? null : id;
  }

  /** The ids of a text, without start or end marks. Marks written in the text, such as `</s>`, are plain text. */
  encode(text: string | Uint8Array): Encoded {
    const input = typeof text === "string" ? new TextEncoder().encode(text) : text;
    this.#checkLength(input.length);
    const { bytes, origins } = this.#normalizer.normalize(input);
    this.#checkLength(bytes.length);
    const ids: number[] = [];
    const starts: number[] = [];
    let afterUnknown = false;
    for (const { id, start, end } of this.#bestSplit(bytes)) {
      const unknown = id === this.#unknownId;
      if (unknown && this.model.byteFallback) {
        for (let i = start; i < end; i++) {
          ids.push(this.#byteIds[bytes[i]!]!);
          starts.push(origins[start]!);
        }
      } else if (!(unknown && afterUnknown)) {
        // Unknown characters in a row are one unknown piece.
        ids.push(id);
        starts.push(origins[start]!);
      }
      afterUnknown = unknown;
    }
    return { ids, starts };
  }

  #checkLength(bytes: number): void {
    const most = Math.floor(MAX_COMPARISONS / this.#longest);
    if (bytes > most)
      throw new CogwheelError(
        "checkpoint",
        `${this.#file}: a text may have at most ${most} bytes with a vocabulary whose longest piece has ${this.#longest}, ` +
          `got ${bytes}; shorten the text`,
      );
  }

  /** Viterbi over byte positions: for each end of a piece the best sum that reaches it, and the piece that does. */
  #bestSplit(text: Uint8Array): { id: number; start: number; end: number }[] {
    const size = text.length;
    const sums = new Float32Array(size + 1);
    const ids = new Int32Array(size + 1);
    const starts = new Int32Array(size + 1).fill(-1);
    const offer = (end: number, start: number, id: number, exact: number): void => {
      const sum = Math.fround(exact);
      if (starts[end] !== -1 && !(sum > sums[end]!)) return;
      sums[end] = sum;
      starts[end] = start;
      ids[end] = id;
    };
    for (let start = 0; start < size; ) {
      const sum = sums[start]!;
      const character = Math.min(characterBytes(text[start]!), size - start);
      let alone = false; // a piece of exactly this character exists
      let node = 0;
      for (let end = start; end < size; ) {
        node = this.#trie.step(node, text[end++]!);
        if (node < 0) break;
        const id = this.#trie.value(node);
        if (id < 0) continue;
        offer(end, start, id, sum + this.#scores[id]!);
        if (end - start === character) alone = true;
      }
      if (!alone) offer(start + character, start, this.#unknownId, sum + this.#unknownScore);
      start += character;
    }
    const split: { id: number; start: number; end: number }[] = [];
    for (let end = size; end > 0; end = starts[end]!) {
      split.push({ id: ids[end]!, start: starts[end]!, end });
    }
    return split.reverse();
  }
}
